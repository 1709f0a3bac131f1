"""Bytes into frames: the data of server-sent events, or the lines of newline-delimited JSON, however the bytes are cut."""

from __future__ import annotations

from typing import Protocol

LONGEST = 16 * 1024 * 1024
"""Bytes of one frame; a server that sends more sends no answer of a model."""


class FrameTooLong(ValueError):
    """A frame of more than LONGEST bytes."""


class Frames(Protocol):
    """Takes bytes as they come, gives the frames that are complete."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def close(self) -> list[bytes]:
        """What is left where the stream ended without its last line end."""
        ...


class Whole:
    """All of it, as one frame."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > LONGEST:
            raise FrameTooLong
        return []

    def close(self) -> list[bytes]:
        return [b"".join(self._pieces)]


class Lines:
    """The lines that are not empty, without their ends."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            raise FrameTooLong
        return [line for line in map(bytes.strip, lines) if line]

    def close(self) -> list[bytes]:
        rest, self._rest = self._rest.strip(), b""
        return [rest] if rest else []


class ServerSentEvents:
    """The data of each event; of several data lines, joined. Comments, names and ids are left out.

    Source: the event stream format of the HTML standard; a lone carriage return doesn't end a line here.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            raise FrameTooLong
        frames: list[bytes] = []
        for line in lines:
            self._take(line.removesuffix(b"\r"), frames)
        return frames

    def close(self) -> list[bytes]:
        frames: list[bytes] = []
        self._take(self._rest.removesuffix(b"\r"), frames)
        self._take(b"", frames)
        self._rest = b""
        return frames

    def _take(self, line: bytes, frames: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and self._data:
            frames.append(b"\n".join(self._data))
            self._data.clear()
