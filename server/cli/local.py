"""Where a server runs on this machine, so that the other commands find it: written by `serve`, read by the rest."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from domain.errors import ConfigurationError
from domain.settings import Settings, load_settings

FILE = "local.json"


@dataclass(frozen=True, slots=True)
class Local:
    """A server's address and a token for it."""

    url: str
    token: str


def save(settings: Settings, local: Local) -> Path:
    """Keep it in the data directory, readable by the owner alone."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    path = settings.data_dir / FILE
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(local), file)
    return path


def find(url: str | None, token: str | None) -> Local:
    """The server to talk to: what was given, else CONSILIUM_URL and CONSILIUM_TOKEN, else what `serve` left here.

    Raises ConfigurationError where there is none.
    """
    url = url or os.environ.get("CONSILIUM_URL")
    token = token or os.environ.get("CONSILIUM_TOKEN")
    if not (url and token):
        known = _known(load_settings())
        url, token = url or (known.url if known else None), token or (known.token if known else None)
    if not (url and token):
        raise ConfigurationError(
            "No server is known here. Start one with `make run`, or give --url and --token "
            "(CONSILIUM_URL, CONSILIUM_TOKEN)."
        )
    return Local(url.rstrip("/"), token)


def _known(settings: Settings) -> Local | None:
    try:
        return Local(**json.loads((settings.data_dir / FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
