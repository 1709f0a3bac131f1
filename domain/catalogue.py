"""What models there are: providers and the capabilities of their models, as config/providers.yaml states them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import ConfigurationError

Family = Literal["openai_compatible", "ollama", "anthropic", "huggingface", "extractive"]
Location = Literal["cloud", "local", "embedded"]
"""`cloud` leaves the operator's machines, `local` is a server of the operator's, `embedded` runs in this process."""


class Capabilities(BaseModel):
    """What a model can do. None means nobody has stated it: it neither qualifies nor disqualifies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chat: bool = True
    streaming: bool = True
    tools: bool | None = None
    structured_output: bool | None = None
    reasoning: bool | None = None
    vision: bool | None = None
    embeddings: bool = False
    dimensions: int | None = Field(None, ge=1)
    """Of an embedding."""
    context_tokens: int | None = Field(None, ge=1)
    """Prompt and completion together."""


class Price(BaseModel):
    """Integer micro-USD (1e-6 USD) for one million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_micro_usd: int = Field(ge=0)
    completion_micro_usd: int = Field(ge=0)


class Timeouts(BaseModel):
    """How long a provider may take, in seconds. Keep-alives are silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect: float = Field(5.0, gt=0, le=60)
    first_token: float = Field(60.0, gt=0, le=3600)
    """From asking to the first of the answer; a local server may load the model first."""
    between_tokens: float = Field(30.0, gt=0, le=3600)
    total: float = Field(600.0, gt=0, le=7200)


class ModelSpec(BaseModel):
    """One model of a provider. `aliases` are bare names a request may use instead of provider/model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    capabilities: Capabilities = Capabilities()
    tier: int | None = Field(None, ge=1, le=3)
    """How strong it is: 1 small, 2 good, 3 best."""
    price: Price | None = None
    """None where the price is unknown; a model that costs nothing has zeros."""


class ProviderSpec(BaseModel):
    """One provider. It is usable when the environment holds its key, or its address where it asks for no key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    family: Family
    location: Location
    base_url: str | None = None
    """Where it is reached unless `base_url_env` says otherwise; None for a local server means it has to be said."""
    base_url_env: str | None = None
    api_key_env: str | None = None
    echo_reasoning: bool = False
    """Whether the model wants its own `reasoning_content` back while it works with tools."""
    output_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the limit of an answer is called on OpenAI's wire: everybody knows the old name but OpenAI's newer models."""
    signed_calls: bool = False
    """Whether tool calls carry a signature, `extra_content`, that the model wants back with them."""
    api_key_required: bool = True
    """Whether the default `base_url` asks for a key. An address of the operator's own never does."""
    timeouts: Timeouts = Timeouts()
    max_concurrency: int | None = Field(None, ge=1)
    """Calls under way at once in one process; None is unbounded."""
    memory_reserve_mb: int = Field(2_000, ge=0)
    """Of models in this process: megabytes that stay free of the machine's memory. A model that would take them isn't loaded."""
    default_model: str | None = None
    model_env: str | None = None
    embed_model: str | None = None
    embed_model_env: str | None = None
    """What makes embeddings here; None where nothing is known to."""
    defaults: Capabilities = Capabilities()
    """Assumed of models that `models` doesn't list."""
    models: tuple[ModelSpec, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> ProviderSpec:
        if self.family == "extractive":
            return self
        if self.base_url is None and self.base_url_env is None and self.family != "huggingface":
            raise ValueError("give base_url or base_url_env, so that the provider can be reached")
        if self.api_key_required and self.api_key_env is None:
            raise ValueError("api_key_required needs api_key_env; keys come from the environment only")
        if self.default_model is None and self.model_env is None:
            raise ValueError("give default_model or model_env")
        return self

    def model(self, name: str) -> ModelSpec:
        """The named model; one that isn't listed gets the provider's defaults and an unknown price."""
        for spec in self.models:
            if name == spec.name or name in spec.aliases:
                return spec
        return ModelSpec(name=name, capabilities=self.defaults)


class Catalogue(BaseModel):
    """All providers, in the order they are tried where nothing else decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    providers: tuple[ProviderSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Catalogue:
        names = [spec.name for spec in self.providers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"provider names must be unique; twice: {', '.join(twice)}")
        return self

    def places(self) -> dict[str, int]:
        """How many calls the bounded providers take at once."""
        return {spec.name: spec.max_concurrency for spec in self.providers if spec.max_concurrency is not None}

    def provider(self, name: str) -> ProviderSpec | None:
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> Mapping[str, ProviderSpec]:
        return {spec.name: spec for spec in self.providers}


def load_catalogue(path: Path) -> Catalogue:
    """Read the YAML catalogue. Raises ConfigurationError naming the file, the entry and the fix."""
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
    except OSError as missing:
        raise ConfigurationError(
            f"{path}: can't be read ({missing.strerror}). Fix: put the providers' catalogue there, or point "
            "CONSILIUM_PROVIDERS_FILE at it.",
            file=str(path),
        ) from missing
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        mark = getattr(broken, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigurationError(
            f"{path}: not valid YAML{where}. Fix: correct the syntax there.", file=str(path)
        ) from broken
    if not isinstance(content, dict) or set(content) != {"providers"} or not isinstance(content["providers"], list):
        raise ConfigurationError(
            f"{path}: must be one mapping with the single key `providers`, a list of entries.", file=str(path)
        )
    try:
        return Catalogue.model_validate(content)
    except ValidationError as wrong:
        problems = [_explain(content["providers"], error["loc"], error["msg"]) for error in wrong.errors()]
        raise ConfigurationError(f"{path}: " + "; ".join(problems), file=str(path), problems=problems) from None


def _explain(entries: list[Any], loc: tuple[int | str, ...], message: str) -> str:
    """A pydantic error in the words of the file: entry by its name, field by its path. Values are left out: one may
    be a key somebody pasted there."""
    message = message.removeprefix("Value error, ")
    if len(loc) < 2 or not isinstance(loc[1], int):
        return message
    entry = entries[loc[1]]
    name = entry.get("name") if isinstance(entry, dict) else None
    field = ".".join(str(part) for part in loc[2:])
    if message == "Extra inputs are not permitted":
        message = "unknown key; remove it (API keys belong into the environment)"
    return (
        f"entry {loc[1] + 1}{f' ({name})' if isinstance(name, str) else ''}{f', {field}' if field else ''}: {message}"
    )
