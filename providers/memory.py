"""How much memory this process may still take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MACHINE = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Of the machine, or less where the container has a limit; None where the system doesn't tell."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with suppress(OSError, KeyError, ValueError):
        yield _named(_MACHINE)["MemAvailable:"] * 1024
    with suppress(OSError, KeyError, ValueError):  # without a limit the file says "max"
        limit, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        yield max(0, limit - used + _named(_GROUP / "memory.stat")["inactive_file"])


def _named(file: Path) -> dict[str, int]:
    """Numbers of a file of names and numbers."""
    return {words[0]: int(words[1]) for words in map(str.split, file.read_text().splitlines()) if words[1:]}
