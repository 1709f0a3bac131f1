"""Reading one uploaded file from a multipart body, never more of it than the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, UploadFile
from starlette.datastructures import UploadFile as FormFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from domain.errors import InvalidInput, TooLarge

_FORM_OVERHEAD = 64 * 1024
"""Bytes of a multipart body that are not the file: boundaries, headers, the other fields."""
_MAX_FIELDS = 30
_MAX_FIELD_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file with the fields beside it; `title` and `labels` are None where not given."""

    filename: str
    media_type: str
    data: bytes
    title: str | None
    labels: Sequence[str] | None


UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "title": {"type": "string", "maxLength": 300},
                        "labels": {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": 20},
                    },
                }
            }
        },
    }
}


async def read_upload(request: Request, limit: int) -> Upload:
    """The `file` of a multipart body with its `title` and `labels` (repeated, or one with commas).

    `limit` is the file's size in bytes. Raises TooLarge as soon as more has come in, InvalidInput where there is no
    file.
    """
    bounded = _bounded(request, limit)
    try:
        async with bounded.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
            file = form.get("file")
            if not isinstance(file, FormFile | UploadFile):
                raise InvalidInput("file", "send the document as the `file` part of a multipart/form-data body")
            data = await file.read()
            if len(data) > limit:
                raise _too_large(limit)
            title = form.get("title")
            labels = [label for field in form.getlist("labels") if isinstance(field, str) for label in field.split(",")]
            return Upload(
                filename=file.filename or "document",
                media_type=file.content_type or "",
                data=data,
                title=title if isinstance(title, str) else None,
                labels=labels if "labels" in form else None,
            )
    except HTTPException as malformed:
        raise InvalidInput("body", f"not a well-formed multipart body: {malformed.detail}") from malformed
    except KeyError as malformed:
        raise InvalidInput("body", "not a well-formed multipart body") from malformed


def _bounded(request: Request, limit: int) -> Request:
    """The request with a body that raises TooLarge once it is over the limit, whatever its Content-Length says."""
    allowed = limit + _FORM_OVERHEAD
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and len(declared) < 20 and int(declared) > allowed:
        raise _too_large(limit)
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > allowed:
            raise _too_large(limit)
        return message

    return Request(request.scope, receive)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"A document has at most {limit} bytes.", limit=limit, unit="bytes")
