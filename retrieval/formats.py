"""The file formats that can be read, by file name and media type."""

from __future__ import annotations

from typing import Literal

from domain.errors import Unsupported

Format = Literal["txt", "md", "html", "pdf", "docx", "csv"]

MEDIA_TYPES: dict[Format, str] = {
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "csv": "text/csv",
}
_EXTENSIONS: dict[str, Format] = {
    "txt": "txt",
    "text": "txt",
    "log": "txt",
    "md": "md",
    "markdown": "md",
    "html": "html",
    "htm": "html",
    "xhtml": "html",
    "pdf": "pdf",
    "docx": "docx",
    "csv": "csv",
    "tsv": "csv",
}
_BY_MEDIA_TYPE: dict[str, Format] = {
    **{media_type: name for name, media_type in MEDIA_TYPES.items()},
    "text/x-markdown": "md",
    "application/xhtml+xml": "html",
    "application/csv": "csv",
    "text/tab-separated-values": "csv",
}


def format_of(filename: str, media_type: str) -> Format:
    """The format of a file: its extension decides, then its media type. Raises Unsupported, listing what is
    supported."""
    extension = filename.rpartition(".")[2].lower() if "." in filename else ""
    found = _EXTENSIONS.get(extension) or (
        _BY_MEDIA_TYPE.get(_plain(media_type)) if not _known_other(extension) else None
    )
    if found is None:
        raise Unsupported(
            f"'{filename[:200]}' ({_plain(media_type) or 'no media type'}) is not a supported document; "
            f"supported are {', '.join(MEDIA_TYPES)}.",
            supported=list(MEDIA_TYPES),
        )
    return found


def _plain(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _known_other(extension: str) -> bool:
    """Extensions whose media type browsers get wrong; better refused than read as noise."""
    return extension in {"doc", "xls", "xlsx", "ppt", "pptx", "rtf", "odt", "zip", "exe", "png", "jpg", "jpeg", "gif"}
