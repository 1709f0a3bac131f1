"""Server-sent events of a run, named and shaped as the LangGraph server does (v1 of its stream).

One renderer a client: it takes every event of the run and gives the bytes that client asked for. `id` is the event's seq, so
that `Last-Event-ID` resumes the stream anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import orjson
import structlog
from langchain_core.messages import AIMessageChunk, BaseMessage, BaseMessageChunk, RemoveMessage
from langchain_core.messages.utils import convert_to_messages, message_chunk_to_message
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from domain.errors import InvalidInput
from domain.runs import Event
from server.connected import Connected
from server.render.serialize import dumps, only

log = structlog.get_logger(__name__)

StreamMode = Literal["values", "updates", "messages-tuple", "messages", "custom"]
STREAM_MODES: tuple[StreamMode, ...] = get_args(StreamMode)
HEARTBEAT = b": heartbeat\r\n\r\n"
SEND_TIMEOUT_SECONDS = 60.0


def stream_modes(asked: str | Sequence[str] | None, *, field: str = "stream_mode") -> list[StreamMode]:
    """The modes asked for, as a list, a JSON list, or words set apart by commas; [] where nothing was asked for.

    Raises InvalidInput for a mode that isn't served.
    """
    words: list[Any] = []
    for part in [asked] if isinstance(asked, str) else asked or []:
        words.extend(_listed(part, field) if isinstance(part, str) else [part])
    for word in words:
        if word not in STREAM_MODES:
            raise InvalidInput(field, f"'{word}' is not served; use {', '.join(STREAM_MODES)}", supported=STREAM_MODES)
    return list(dict.fromkeys(words))


def _listed(text: str, field: str) -> list[Any]:
    if not text.startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        words = orjson.loads(text)
    except orjson.JSONDecodeError as bad:
        raise InvalidInput(field, f"is not a JSON list: {bad.msg}") from bad
    return words if isinstance(words, list) else [words]


def resume_point(last_event_id: str | None) -> int | None:
    """The seq a client has seen last; None for all events. Raises InvalidInput."""
    if last_event_id is None or last_event_id in ("", "-", "-1"):
        return None
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
        raise InvalidInput("Last-Event-ID", "must be the id of an event of this stream, a whole number, or -1 for all")
    return int(last_event_id)


def encode(name: str, data: bytes, seq: int | None = None) -> bytes:
    """One event on the wire; `data` is JSON on one line."""
    tail = b"\r\n\r\n" if seq is None else b"\r\nid: %d\r\n\r\n" % seq
    return b"".join((b"event: ", name.encode(), b"\r\ndata: ", data, tail))


class SseRenderer:
    """Renders a run's events for one client.

    `modes` are what the client gets beside `metadata`, `error` and `end`; with both messages modes `messages-tuple` wins, as on
    the LangGraph server. Without `subgraphs` only events of the root graph are shown; with it their name carries the namespace
    (`updates|legal:1|model:2`). Of state values only `keys` are shown. `strip` gets the rendered bytes last.
    """

    def __init__(
        self,
        modes: Sequence[str],
        *,
        subgraphs: bool,
        keys: frozenset[str],
        after_seq: int | None = None,
        strip: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._modes = frozenset(modes)
        self._subgraphs = subgraphs
        self._keys = keys
        self._after = after_seq or 0
        self._strip = strip
        self._tuples = "messages-tuple" in self._modes
        self.methods = _methods(self._modes)
        """Of the events this client may get something of."""
        self._growing: dict[str, BaseMessage] | None = {} if "messages" in self._modes and not self._tuples else None

    @property
    def tail_from(self) -> int | None:
        """Where the log has to be read from: growing messages need what came before the resume point, too."""
        return None if self._growing is not None or not self._after else self._after

    def render(self, event: Event) -> bytes:
        """The bytes for this client; empty where the event isn't for it."""
        if event.ns and not self._subgraphs and not event.terminal:
            return b""
        rendered = self._render(event)
        return self._strip(rendered) if rendered and event.seq > self._after else b""

    def _render(self, event: Event) -> bytes:
        name = "|".join((event.method, *event.ns)) if event.ns else event.method
        match event.method:
            case "messages":
                return self._messages(event, name)
            case "values" if "values" in self._modes:
                return encode(name, dumps(only(event.data, self._keys)), event.seq)
            case "updates" if "updates" in self._modes:
                return encode(name, dumps(self._shown_updates(event.data)), event.seq)
            case "updates" if "values" in self._modes and _interrupts(event.data):
                # A client of values alone learns of an interrupt, too.
                name = "|".join(("values", *event.ns))
                return encode(name, dumps({"__interrupt__": event.data["__interrupt__"]}), event.seq)
            case "custom" if "custom" in self._modes:
                return encode(name, dumps(event.data), event.seq)
            case "metadata":
                return encode("metadata", dumps(event.data), event.seq)
            case "error":
                return encode("error", dumps(error_data(event.data)), event.seq)
            case "end":
                return encode("end", b"null", event.seq)
            case _:
                return b""

    def _messages(self, event: Event, name: str) -> bytes:
        if self._tuples:
            return encode(name, dumps(event.data), event.seq)
        if self._growing is not None:
            return self._grown(event, self._growing)
        return b""

    def _grown(self, event: Event, growing: dict[str, BaseMessage]) -> bytes:
        """`messages/metadata` once a message, then the whole message so far with every chunk."""
        message, metadata = _message(event.data[0]), event.data[1]
        key, head = str(message.id), b""
        if isinstance(message, RemoveMessage):  # retracted: its provider failed in the middle of it
            growing.pop(key, None)
            return encode("messages/complete", dumps([message]), event.seq)
        known = growing.get(key)
        if known is None:
            head = encode("messages/metadata", dumps({key: {"metadata": metadata}}))
            growing[key] = message
        elif isinstance(known, BaseMessageChunk) and isinstance(message, BaseMessageChunk):
            growing[key] = known + message
        else:
            growing[key] = message
        whole = growing[key]
        partial = isinstance(whole, BaseMessageChunk)
        shown = message_chunk_to_message(whole) if isinstance(whole, BaseMessageChunk) else whole
        return head + encode("messages/partial" if partial else "messages/complete", dumps([shown]), event.seq)

    def _shown_updates(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {
            node: update if node == "__interrupt__" else self._shown_update(update) for node, update in data.items()
        }

    def _shown_update(self, update: Any) -> Any:
        if isinstance(update, list):
            return [self._shown_update(part) for part in update]
        return only(update, self._keys) if isinstance(update, Mapping) else None


def _methods(modes: frozenset[str]) -> frozenset[str]:
    shown = {"messages" if mode == "messages-tuple" else mode for mode in modes}
    if "values" in modes:
        shown.add("updates")  # they tell of interrupts
    return frozenset(shown | {"metadata", "error", "end"})


def error_data(data: Any) -> dict[str, Any]:
    """An error event as clients expect it: `error` names its kind, `message` says what happened."""
    if not isinstance(data, Mapping):
        return {"error": "internal_error", "message": str(data)}
    shown = dict(data)
    shown.setdefault("error", shown.get("error_code", "internal_error"))
    shown.setdefault("message", str(shown["error"]))
    return shown


def _interrupts(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(data.get("__interrupt__"))


def _message(data: Any) -> BaseMessage:
    if isinstance(data, BaseMessage):
        return data
    if str(data.get("type", "")).endswith("Chunk"):
        return AIMessageChunk(**data)
    return convert_to_messages([data])[0]


class StreamCut(Exception):
    """Raised by a body that can't go on in this process."""


class EventStream(StreamingResponse):
    """A response that sends `body` as it comes, and calls `on_disconnect` where the client went away first.

    A client that takes nothing for a minute is let go; it resumes by its last event id. On StreamCut the connection is
    closed with the response unfinished, which tells any client to join again.
    """

    def __init__(
        self,
        body: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str],
        media_type: str = "text/event-stream",
        on_disconnect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            body, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers}, media_type=media_type
        )
        self._chunks = body
        self._on_disconnect = on_disconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = True
        try:
            async with Connected(receive) as client:
                gone = not await self._send_all(send, client)
        except StreamCut:
            gone = False
        finally:
            await self._chunks.aclose()
            if gone and self._on_disconnect is not None:
                await self._on_disconnect()

    async def _send_all(self, send: Send, client: Connected) -> bool:
        """Whether the client took everything."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        clock = asyncio.get_running_loop().time
        try:
            # one for all chunks: a scope for each is a good part of sending it
            async with asyncio.timeout(None) as patience:
                async for chunk in self._chunks:
                    if client.left:
                        return False
                    if chunk:
                        patience.reschedule(clock() + SEND_TIMEOUT_SECONDS)
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                        patience.reschedule(None)
        except TimeoutError:
            if not patience.expired():
                raise
            log.info("a client took nothing for too long and was let go", seconds=SEND_TIMEOUT_SECONDS)
            return False
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True
