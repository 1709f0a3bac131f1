"""Settings: the environment over config/consilium.yaml over the defaults here; checked at start, all problems at once."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from domain.errors import ConfigurationError
from domain.skills import Limits

PREFIX = "CONSILIUM_"
MIN_SECRET_BYTES = 32
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
ROOT = Path(__file__).resolve().parent.parent
_PLAIN = {"database_url": "DATABASE_URL"}
"""Fields whose variable carries the name everybody uses, without the prefix."""


class Settings(BaseModel):
    """Every setting. A field `port` is the variable CONSILIUM_PORT; a nested one CONSILIUM_LIMITS__TURN_SECONDS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    environment: Literal["development", "production"] = Field("development", description="What this server is for.")
    data_dir: Path = Field(
        Path(".consilium"), description="The embedded database and the generated signing key live here."
    )
    database_url: str | None = Field(
        None, description="Postgres 16+ with pgvector, as the owner of its database; empty: the embedded one."
    )
    database_app_url: str | None = Field(
        None, description="How the application logs in, where that differs: a login that is consilium_app."
    )
    pool_min: int = Field(4, ge=1, le=100, description="Database connections kept open.")
    pool_max: int = Field(20, ge=2, le=200, description="Database connections at most.")
    jwt_secret: str | None = Field(
        None,
        min_length=MIN_SECRET_BYTES,
        description="Key of HS256 tokens, at least 32 characters; empty: made once in the data_dir.",
    )
    jwks_url: str | None = Field(None, description="Where the identity provider publishes its RS256/ES256 keys.")
    jwks_file: Path | None = Field(None, description="The same keys as a file.")
    jwt_issuer: str = Field("consilium", min_length=1, description="The `iss` a token must have.")
    jwt_audience: str = Field("consilium", min_length=1, description="The `aud` a token must have.")
    jwt_leeway_seconds: int = Field(30, ge=0, le=300, description="Difference of clocks that is forgiven.")
    cors_origins: list[str] = Field(["*"], description="Origins of browsers that may call the API, as a JSON list.")
    daily_tokens: int | None = Field(2_000_000, ge=0, description="Tokens an organisation has a day; null: no limit.")
    reserve_output_tokens: int = Field(1024, ge=1, le=100_000, description="Completion tokens reserved before a call.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest JSON body.")
    max_document_bytes: int = Field(26_214_400, ge=1024, description="Largest document.")
    max_message_chars: int = Field(100_000, ge=100, description="Characters of all messages of one request.")
    max_concurrent_runs: int = Field(64, ge=1, le=2000, description="Runs this replica executes at once; others wait.")
    lease_seconds: float = Field(30, ge=1, le=600, description="After this silence another replica takes a run over.")
    flush_seconds: float = Field(0.1, ge=0.01, le=5, description="How long an event waits to be stored, at most.")
    providers_file: Path = Field(ROOT / "config" / "providers.yaml", description="The catalogue of models.")
    log_level: LogLevel = Field("info", description="What is logged.")
    log_format: LogFormat = Field("json", description="How it is logged.")
    demo: bool = Field(False, description="Load the sample organisation at start.")
    limits: Limits = Field(Limits(), description="Bounds of a turn (CONSILIUM_LIMITS__NAME).")

    @field_validator(
        "database_url", "database_app_url", "jwt_secret", "jwks_url", "jwks_file", "daily_tokens", mode="before"
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value in ("", "null") else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _json_list(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def variable(field: str) -> str:
    """The environment variable of a field; `limits.turn_seconds` is CONSILIUM_LIMITS__TURN_SECONDS."""
    return _PLAIN.get(field) or PREFIX + field.replace(".", "__").upper()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The checked settings. `environ` None is the process's environment, with a .env file of the working directory below it.

    Raises ConfigurationError naming every wrong variable with its fix.
    """
    given = dict(environ if environ is not None else {**_dotenv(Path(".env")), **os.environ})
    problems = [_misspelt(name) for name in given if name.startswith(PREFIX) and not _known(name)]
    values = _from_file(Path(given.get(f"{PREFIX}CONFIG") or ROOT / "config" / "consilium.yaml"))
    limits = dict(values.get("limits") or {})
    for name, value in given.items():
        field = next((f for f in Settings.model_fields if variable(f) == name), None)
        if field is not None:
            values[field] = value
        elif name.startswith(f"{PREFIX}LIMITS__") and _known(name):
            limits[name.removeprefix(f"{PREFIX}LIMITS__").lower()] = value
    try:
        settings = Settings.model_validate({**values, "limits": limits})
    except ValidationError as wrong:
        for error in wrong.errors():
            field = ".".join(str(part) for part in error["loc"])
            problems.append(f"{variable(field)}: {error['msg']}. It is: {_describe(field)}")
        raise ConfigurationError("Settings: " + "; ".join(problems), problems=problems) from None
    if problems:
        raise ConfigurationError("Settings: " + "; ".join(problems), problems=problems)
    return settings


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as broken:
        raise ConfigurationError(f"{path}: not valid YAML; correct it or remove the file. {broken}") from broken
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: must be a mapping of setting names to values")
    return content


def _known(name: str) -> bool:
    field = name.removeprefix(PREFIX).lower()
    head, _, nested = field.partition("__")
    if name in (f"{PREFIX}CONFIG", f"{PREFIX}URL", f"{PREFIX}TOKEN", f"{PREFIX}PYTHON"):
        return True
    return (head in Settings.model_fields and not nested) or (head == "limits" and nested in Limits.model_fields)


def _misspelt(name: str) -> str:
    close = difflib.get_close_matches(name, [variable(field) for field in Settings.model_fields], 1)
    return f"{name}: there is no such setting" + (f"; did you mean {close[0]}?" if close else "; remove it")


def _describe(field: str) -> str:
    head, _, nested = field.partition(".")
    info = Limits.model_fields.get(nested) if head == "limits" else Settings.model_fields.get(head)
    return (info.description if info and info.description else "a setting, see docs/configuration.md").rstrip(".")


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#") and "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs if value.strip()}
