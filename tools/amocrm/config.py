"""What the amoCRM server is started with, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from domain.errors import ConfigurationError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
DOCS = "docs/amocrm.md"


@dataclass(frozen=True, slots=True)
class OAuth:
    """An integration's keys. The pair of tokens lives in `token_file`; `refresh_token` only starts it."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    refresh_token: str | None = field(repr=False)
    token_file: Path


@dataclass(frozen=True, slots=True)
class AmoConfig:
    """One account: its address without a path, and either a long-lived token or OAuth."""

    base_url: str
    sample: bool = False
    """The sample account instead of one of amoCRM's; the rest but `mcp_token` is not used."""
    token: str | None = field(default=None, repr=False)
    oauth: OAuth | None = None
    mcp_token: str | None = field(default=None, repr=False)
    """What clients of the HTTP transport must show as their bearer token; None: nothing, on loopback only."""


def load_config(environ: Mapping[str, str], *, sample: bool = False) -> AmoConfig:
    """With `sample` nothing has to be set.

    Raises ConfigurationError with all problems, each naming its variable and the fix; no secret is in it.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    problems: list[str] = []
    base_url = "" if sample else _base_url(given.get("AMOCRM_BASE_URL"), problems)
    token = None if sample else given.get("AMOCRM_TOKEN")
    oauth = None
    names = ("AMOCRM_CLIENT_ID", "AMOCRM_CLIENT_SECRET", "AMOCRM_REDIRECT_URI")
    if token is None and not sample:
        missing = [name for name in names if name not in given]
        if len(missing) == len(names):
            problems.append(
                f"AMOCRM_TOKEN: is not set. Fix: a long-lived token of the integration, or {', '.join(names)} and "
                f"AMOCRM_REFRESH_TOKEN; see {DOCS}"
            )
        elif missing:
            problems += [f"{name}: is not set, but others of OAuth are. Fix: set it, too" for name in missing]
        else:
            oauth = _oauth(given, problems)
    mcp_token = given.get("AMOCRM_MCP_TOKEN")
    if mcp_token is not None and len(mcp_token) < 16:
        problems.append("AMOCRM_MCP_TOKEN: is shorter than 16 characters. Fix: for example $(openssl rand -hex 32)")
    if problems:
        raise ConfigurationError("Settings: " + "; ".join(problems), problems=problems)
    return AmoConfig(base_url, sample, token, oauth, mcp_token)


def _base_url(given: str | None, problems: list[str]) -> str:
    fix = "Fix: for example AMOCRM_BASE_URL=https://example.amocrm.ru"
    if given is None:
        problems.append(f"AMOCRM_BASE_URL: is not set. {fix}")
        return ""
    try:
        parts = urlsplit(given)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http") or parts.path.strip("/") or parts.query:
        problems.append(f"AMOCRM_BASE_URL: must be the account's address without a path. {fix}")
        return ""
    if parts.scheme == "http" and host not in LOOPBACK:
        problems.append(f"AMOCRM_BASE_URL: must start with https://, for the token goes with each request. {fix}")
    return given.rstrip("/")


def _oauth(given: Mapping[str, str], problems: list[str]) -> OAuth:
    file = Path(
        given.get("AMOCRM_TOKEN_FILE") or Path(given.get("CONSILIUM_DATA_DIR", ".consilium")) / "amocrm-tokens.json"
    )
    refresh_token = given.get("AMOCRM_REFRESH_TOKEN")
    if refresh_token is None and not file.exists():
        problems.append(
            f"AMOCRM_REFRESH_TOKEN: is not set and there is no {file} yet. Fix: exchange the integration's authorization "
            f"code for a pair of tokens and set its refresh token; see {DOCS}"
        )
    return OAuth(
        given["AMOCRM_CLIENT_ID"], given["AMOCRM_CLIENT_SECRET"], given["AMOCRM_REDIRECT_URI"], refresh_token, file
    )
