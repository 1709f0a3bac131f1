"""Logs: one JSON object a line (or a readable one), ours and the libraries', with the request's ids, no secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from domain.settings import LogFormat, LogLevel

HIDDEN = "[redacted]"
_SECRET_KEYS = frozenset(
    {
        "authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key", "api_key", "apikey", "token",
        "access_token", "refresh_token", "id_token", "jwt", "jwt_secret", "secret", "client_secret",
        "password", "passwd",
    }
)  # fmt: skip
_SECRETS = re.compile(
    r"(?P<bearer>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|(?P<jwt>\beyJ[\w-]{5,}\.[\w-]*\.?[\w-]*)"
    r"|(?P<key>\b(?:sk|pk|rk|tvly|lsv2|ghp|xox[abp])[-_][\w-]{12,})"
    r"|(?P<assigned>\b(?:password|passwd|api[-_]?key|secret|access_token)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+"
    r"|(?P<userinfo>://[^\s:/@]*:)[^\s/@]+(?=@)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` without bearer tokens, JWTs, provider keys, passwords in DSNs and addresses."""
    return _SECRETS.sub(lambda found: (found["bearer"] or found["assigned"] or found["userinfo"] or "") + HIDDEN, text)


def _redacted(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return redact(value)
    if depth < 6 and isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(key) else _redacted(part, depth + 1) for key, part in value.items()}
    if depth < 6 and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(part, depth + 1) for part in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def _is_secret(key: Any) -> bool:
    return isinstance(key, str) and key.lower().replace("-", "_") in _SECRET_KEYS


def redact_event(_: Any, __: str, event: EventDict) -> EventDict:
    """The structlog processor that takes secrets out of every value, whatever its depth."""
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = HIDDEN if _is_secret(key) else _redacted(value)
    return event


def _json(event: MutableMapping[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a lone surrogate or an integer beyond 64 bits
        return json.dumps(event, default=str)


def configure_logging(level: LogLevel, style: LogFormat) -> None:
    """Send the logs of this process to stderr. Calling it again replaces what it did before, and nothing of others."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )  # fmt: skip
    final: Processor = (
        structlog.processors.JSONRenderer(serializer=_json)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.name = "consilium"
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact_event,
                final,
            ],
        )
    )
    root = logging.getLogger()
    for former in [one for one in root.handlers if one.name == handler.name]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Our own access line has the organisation and the trace; these would say the same again.
    logging.getLogger("uvicorn.access").setLevel(logging.ERROR)
    for name in ("httpx", "httpx2", "httpcore", "alembic", "openai"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
