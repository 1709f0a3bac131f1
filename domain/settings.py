"""Settings: the environment over .env over config/consilium.yaml over the defaults; all problems told at once.

The fields are the one source of .env.example and docs/configuration.md; a test keeps them in step.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from domain.errors import ConfigurationError
from domain.skills import Limits

PREFIX = "CONSILIUM_"
MIN_SECRET_BYTES = 32
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
SearchDepth = Literal["basic", "advanced"]
ROOT = Path(__file__).resolve().parent.parent
_PLAIN = {
    "database_url": "DATABASE_URL",
    "tavily_api_key": "TAVILY_API_KEY",
    "tavily_base_url": "TAVILY_BASE_URL",
}
"""Fields whose variable carries the name everybody uses, without the prefix."""
_SECRET = frozenset({"jwt_secret", "database_url", "database_app_url", "tavily_api_key"})
"""Fields whose value never enters a message."""
_OTHERS = frozenset({f"{PREFIX}{name}" for name in ("CONFIG", "URL", "TOKEN", "PYTHON")})
"""Variables that are ours and no settings of the server."""
# What Kubernetes puts into every container beside a service called `consilium`.
_SERVICE_LINK = re.compile(r"CONSILIUM_(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))(_\w+)?")


class Settings(BaseModel):
    """Every setting. A field `port` is the variable CONSILIUM_PORT; a nested one CONSILIUM_LIMITS__TURN_SECONDS."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    environment: Literal["development", "production"] = Field("development", description="What this server is for.")
    default_provider: str | None = Field(
        None,
        max_length=100,
        description="Asked first where nobody wishes otherwise; empty: deepseek in development, openai in production.",
        examples=["ollama"],
    )
    data_dir: Path = Field(
        Path(".consilium"), description="The embedded database and the generated signing key live here."
    )
    database_url: str | None = Field(
        None,
        repr=False,
        description="Postgres 16+ with pgvector, as the owner of its database; empty: the embedded one.",
        examples=["postgresql://owner:password@localhost:5432/consilium"],
    )
    database_app_url: str | None = Field(
        None,
        repr=False,
        description="How the application logs in, where that differs: a login that is consilium_app.",
        examples=["postgresql://consilium_app:password@localhost:5432/consilium"],
    )
    pool_min: int = Field(4, ge=1, le=100, description="Database connections kept open.")
    pool_max: int = Field(20, ge=2, le=200, description="Database connections at most.")
    jwt_secret: str | None = Field(
        None,
        repr=False,
        description="Key of HS256 tokens, at least 32 bytes; empty: made once in data_dir, unless JWKS is configured.",
        examples=["$(openssl rand -hex 32)"],
    )
    jwks_url: str | None = Field(
        None,
        description="Where the identity provider publishes its RS256/ES256 keys.",
        examples=["https://login.example.com/.well-known/jwks.json"],
    )
    jwks_file: Path | None = Field(None, description="The same keys as a file.", examples=["config/jwks.json"])
    jwt_issuer: str = Field("consilium", min_length=1, description="The `iss` a token must have.")
    jwt_audience: str = Field("consilium", min_length=1, description="The `aud` a token must have.")
    jwt_leeway_seconds: int = Field(30, ge=0, le=300, description="Difference of clocks that is forgiven.")
    cors_origins: list[str] = Field(
        ["*"], description="Origins of browsers that may call the API, separated by commas or as a JSON list; * is all."
    )
    daily_tokens: int | None = Field(2_000_000, ge=0, description="Tokens an organisation has a day; `null`: no limit.")
    rate_organization_per_minute: int | None = Field(
        None,
        ge=1,
        description="Runs an organisation may start a minute, where it has not set its own; empty: no limit.",
    )
    rate_user_per_minute: int | None = Field(None, ge=1, description="The same for each of its users.")
    rate_model_per_minute: int | None = Field(
        None, ge=1, description="The same for each model that is asked for by name."
    )
    reserve_output_tokens: int = Field(
        1024, ge=1, le=100_000, description="Completion tokens reserved before a call of which nothing is known yet."
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest JSON body.")
    max_document_bytes: int = Field(26_214_400, ge=1024, description="Largest document.")
    max_message_chars: int = Field(100_000, ge=100, description="Characters of all messages of one request.")
    max_concurrent_runs: int = Field(64, ge=1, le=2000, description="Runs this replica executes at once; others wait.")
    lease_seconds: float = Field(30, ge=1, le=600, description="After this silence another replica takes a run over.")
    flush_seconds: float = Field(0.5, ge=0.01, le=5, description="How long an event waits to be stored, at most.")
    providers_file: Path = Field(ROOT / "config" / "providers.yaml", description="The catalogue of models.")
    breaker_failures: int = Field(
        5, ge=1, le=1000, description="Failures in a row after which a provider is left alone for a while."
    )
    breaker_open_seconds: float = Field(
        10,
        gt=0,
        le=3600,
        description="How long, in seconds, at first; doubled each time it fails again, up to 30 times as long.",
    )
    breaker_longest_rest_seconds: float = Field(
        600,
        gt=0,
        le=86_400,
        description="How long at most, in seconds, a provider is left alone that asks for a longer rest (Retry-After).",
    )
    embedding_cache_seconds: int = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="How long an embedding is kept for the same text of the same organisation, in seconds; 0: not at all.",
    )
    mcp_file: Path = Field(ROOT / "config" / "mcp.yaml", description="MCP servers of the operator.")
    mcp_allowed_networks: list[str] = Field(
        [],
        max_length=100,
        description="Networks that are not public in which MCP servers of organisations may be, separated by commas.",
        examples=["10.20.0.0/16,127.0.0.0/8"],
    )
    mcp_connect_seconds: float = Field(
        10, gt=0, le=120, description="How long an MCP server may take to answer, and to list its tools."
    )
    mcp_call_seconds: float = Field(60, gt=0, le=3600, description="How long a call of an MCP server's tool may take.")
    mcp_cache_seconds: float = Field(
        300, ge=1, le=86_400, description="After this time an MCP server is asked for its tools anew."
    )
    mcp_max_tools: int = Field(64, ge=1, le=500, description="Tools of one MCP server that agents may see.")
    tavily_api_key: str | None = Field(
        None, repr=False, description="Key of Tavily; empty: agents have no `web_search`.", examples=["tvly-..."]
    )
    tavily_base_url: str = Field("https://api.tavily.com", description="Where Tavily's API is.")
    web_search_depth: SearchDepth = Field(
        "basic",
        description="How deep the web is searched where an agent doesn't say: basic, or advanced (two credits).",
    )
    web_search_results: int = Field(
        5, ge=1, le=20, description="How many pages a search of the web finds where an agent doesn't say."
    )
    web_search_include_domains: list[str] = Field(
        [],
        max_length=300,
        description="The only domains that are searched, separated by commas; empty: all.",
        examples=["example.com,example.org"],
    )
    web_search_exclude_domains: list[str] = Field(
        [], max_length=150, description="Domains that are never searched.", examples=["example.net"]
    )
    web_search_seconds: float = Field(20, ge=1, le=120, description="How long a search of the web may take.")
    log_level: LogLevel = Field("info", description="What is logged.")
    log_format: LogFormat = Field("json", description="How it is logged.")
    console: bool = Field(True, description="Serve the web console under /console.")
    demo: bool = Field(False, description="Load the sample organisation at start.")
    limits: Limits = Field(Limits(), description="Bounds of a turn (CONSILIUM_LIMITS__NAME).")

    @field_validator(
        "database_url",
        "database_app_url",
        "jwt_secret",
        "jwks_url",
        "jwks_file",
        "tavily_api_key",
        "daily_tokens",
        "rate_organization_per_minute",
        "rate_user_per_minute",
        "rate_model_per_minute",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value in ("", "null") else value

    @field_validator(
        "cors_origins",
        "mcp_allowed_networks",
        "web_search_include_domains",
        "web_search_exclude_domains",
        mode="before",
    )
    @classmethod
    def _list(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except json.JSONDecodeError as wrong:
                raise ValueError(f"is no JSON list: {wrong}") from None
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("database_url", "database_app_url")
    @classmethod
    def _postgres(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return url

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, secret: str | None) -> str | None:
        if secret is not None and len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes, this one has {len(secret.encode())}")
        return secret

    @field_validator("jwks_url", "tavily_base_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://")):
            raise ValueError("must start with https://")
        return url

    @field_validator("mcp_allowed_networks")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                ipaddress.ip_network(value, strict=False)
            except ValueError:
                raise ValueError(f"'{value[:60]}' is no network such as 10.0.0.0/8") from None
        return values

    @field_validator("jwks_file", "providers_file", "mcp_file")
    @classmethod
    def _exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.pool_min > self.pool_max:
            raise ValueError(
                f"CONSILIUM_POOL_MIN ({self.pool_min}) must not be over CONSILIUM_POOL_MAX ({self.pool_max}). "
                "Fix: raise the latter or lower the former"
            )
        if self.jwks_url and self.jwks_file:
            raise ValueError("CONSILIUM_JWKS_URL and CONSILIUM_JWKS_FILE exclude each other. Fix: unset one of them")
        return self


def variable(field: str) -> str:
    """The environment variable of a field; `limits.turn_seconds` is CONSILIUM_LIMITS__TURN_SECONDS."""
    return _PLAIN.get(field) or PREFIX + field.replace(".", "__").upper()


def variables() -> Iterator[tuple[str, FieldInfo]]:
    """Every variable a server reads and its field, in the order of the fields."""
    for name, field in Settings.model_fields.items():
        if name == "limits":
            yield from ((variable(f"limits.{inner}"), part) for inner, part in Limits.model_fields.items())
        else:
            yield variable(name), field


def process_environment(directory: Path | None = None) -> dict[str, str]:
    """The process's environment over the .env file of `directory` (the working directory), where there is one.

    It also holds the keys and addresses of model providers.
    """
    from dotenv import dotenv_values

    path = (directory or Path.cwd()) / ".env"
    written = dotenv_values(path, interpolate=False, encoding="utf-8") if path.is_file() else {}
    return {name: value for name, value in {**written, **os.environ}.items() if value is not None}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The checked settings. `environ` None is `process_environment()`; a variable that is empty counts as unset.

    Raises ConfigurationError with all problems at once, in `details.problems` one by one: each names the variable, or
    the file and its key, and the fix. No secret is in a message.
    """
    given = {name: value for name, value in (process_environment() if environ is None else environ).items() if value}
    problems: list[str] = []
    path = Path(given.get(f"{PREFIX}CONFIG") or ROOT / "config" / "consilium.yaml")
    values = _from_file(path, f"{PREFIX}CONFIG" in given, problems)
    origins = dict.fromkeys(_paths(values), path.name)
    fields = {variable(field): field for field in _all_fields()}
    for name, value in given.items():
        if name in fields:
            origins.pop(fields[name], None)
            head, _, nested = fields[name].partition(".")
            if nested:
                values[head] = {**values.get(head, {}), nested: value}
            else:
                values[head] = value
        elif name.startswith(PREFIX) and name not in _OTHERS and not _SERVICE_LINK.fullmatch(name):
            problems.append(f"{name} is not a setting{_nearest(name, [*fields, *_OTHERS])}")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as wrong:
        problems += [_explain(error, values, origins) for error in wrong.errors(include_url=False)]
    if problems:
        raise ConfigurationError("Settings: " + "; ".join(problems), problems=problems) from None
    return settings


def _from_file(path: Path, named: bool, problems: list[str]) -> dict[str, Any]:
    """The YAML file's values; unknown keys are left out and told of. A missing file is fine unless it was asked for."""
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        if named:
            problems.append(f"{PREFIX}CONFIG: there is no file {path}. Fix: correct the path or unset the variable")
        return {}
    except OSError as unreadable:
        problems.append(f"{path.name}: can't be read ({unreadable.strerror}). Fix: correct its permissions")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        mark = getattr(broken, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problems.append(f"{path.name}: not valid YAML{where}. Fix: correct it or remove the file")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name}: must be a mapping of settings. Fix: write lines like `port: 8080`")
        return {}
    if not isinstance(content.get("limits") or {}, dict):
        problems.append(f"{path.name}: limits: must be a mapping. Fix: write `limits: {{max_tool_steps: 12}}`")
        del content["limits"]
    known = list(_all_fields())
    unknown = [one for one in _paths(content) if one not in known]
    problems += [f"{path.name}: '{one}' is not a setting{_nearest(one, known)}" for one in unknown]
    values = {key: value for key, value in content.items() if key in Settings.model_fields and value is not None}
    if isinstance(values.get("limits"), dict):
        values["limits"] = {key: value for key, value in values["limits"].items() if key in Limits.model_fields}
    return values


def _all_fields() -> Iterator[str]:
    for name in Settings.model_fields:
        yield from (f"limits.{inner}" for inner in Limits.model_fields) if name == "limits" else [name]


def _paths(values: Mapping[Any, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield from (f"limits.{inner}" for inner in value) if key == "limits" and isinstance(value, dict) else [str(key)]


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    if name.removeprefix(PREFIX) in _PLAIN.values():
        close = [name.removeprefix(PREFIX)]
    return f"; did you mean {close[0]}? Fix: rename or remove it" if close else ". Fix: remove it"


def _explain(error: Any, values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """A pydantic error as: where it was set, what it must be, what it is, and a value that works."""
    message = str(error["msg"]).removeprefix("Value error, ")
    parts = [str(part) for part in error["loc"] if isinstance(part, str)]
    if not parts:
        return message
    field = ".".join(parts[: 2 if parts[0] == "limits" else 1])
    name = f"{origins[field]}: {field}" if field in origins else variable(field)
    message = message.replace("Input should be", "must be").replace("String should", "must")
    given = values.get(parts[0])
    if len(parts) > 1 and isinstance(given, dict):
        given = given.get(parts[1])
    shown = "" if field in _SECRET or isinstance(given, dict) else f", not '{str(given)[:100]}'"
    if field == "port" and str(given).startswith("tcp://"):
        return (
            f"{name}: {message}{shown}. Fix: Kubernetes sets it beside a service of this name; set "
            "enableServiceLinks: false"
        )
    return f"{name}: {message}{shown}. Fix: for example {variable(field)}={example(field)}"


def example(field: str) -> str:
    """A value of a field that works, as the environment would hold it: its example, else its default."""
    spec = dict(variables()).get(variable(field))
    if spec is None or spec.examples:
        return str(spec.examples[0]) if spec and spec.examples else ""
    default = spec.default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        return str(default.relative_to(ROOT))
    return ",".join(default) if isinstance(default, list) else str(default)
