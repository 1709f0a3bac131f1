"""Reading one uploaded file from a multipart body; the whole body is bounded before it gets here, in server/door.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, UploadFile
from starlette.datastructures import UploadFile as FormFile
from starlette.exceptions import HTTPException

from domain.errors import InvalidInput, TooLarge

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

    `limit` is the file's size in bytes. Raises TooLarge where it is bigger, InvalidInput where there is no file.
    """
    try:
        async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
            file = form.get("file")
            if not isinstance(file, FormFile | UploadFile):
                raise InvalidInput("file", "send the document as the `file` part of a multipart/form-data body")
            data = await file.read()
            if len(data) > limit:
                raise TooLarge(f"A document has at most {limit} bytes.", limit=limit, unit="bytes")
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
        if malformed.status_code != 400:  # the body's own limit, see server/door.py
            raise
        raise InvalidInput("body", f"not a well-formed multipart body: {malformed.detail}") from malformed
    except KeyError as malformed:
        raise InvalidInput("body", "not a well-formed multipart body") from malformed
