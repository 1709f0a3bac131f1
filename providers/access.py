"""How a provider is reached from this process: address, key and default model, as the environment gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from domain.catalogue import ProviderSpec

_EXTRAS = {
    "anthropic": (("langchain_anthropic",), "anthropic"),
    "huggingface": (("transformers", "torch"), "huggingface"),
}
"""Families whose packages are optional: the modules, and the extra that brings them."""


@dataclass(frozen=True, slots=True)
class Access:
    """A provider as configured here. `unusable` is None, or why it can't be called, naming the variable to set."""

    base_url: str | None = field(repr=False)
    """Not shown: an address may carry a password."""
    api_key: str | None = field(repr=False)
    default_model: str | None
    embed_model: str | None
    unusable: str | None


def resolve(spec: ProviderSpec, environ: Mapping[str, str]) -> Access:
    """What the environment says of `spec`; empty variables count as unset."""

    def read(name: str | None) -> str | None:
        return (environ.get(name, "").strip() or None) if name else None

    own_address = read(spec.base_url_env)
    key = read(spec.api_key_env)
    model = read(spec.model_env) or spec.default_model
    embeds = read(spec.embed_model_env) or spec.embed_model
    return Access(own_address or spec.base_url, key, model, embeds, _problem(spec, own_address, key, model))


def _problem(spec: ProviderSpec, own_address: str | None, key: str | None, model: str | None) -> str | None:
    if spec.family == "extractive":
        return None
    extra = _EXTRAS.get(spec.family)
    if extra is not None and not all(map(find_spec, extra[0])):
        return f"install its package: pip install 'consilium[{extra[1]}]'"
    if own_address is None and spec.base_url is None and spec.family != "huggingface":
        return f"set {spec.base_url_env}"
    if own_address is None and spec.api_key_required and key is None:
        own = f" (or {spec.base_url_env} for a server of your own)" if spec.base_url_env else ""
        return f"set {spec.api_key_env}{own}"
    if own_address is not None and not own_address.startswith(("http://", "https://")):
        return f"{spec.base_url_env} must start with http:// or https://"
    if model is None:
        return f"set {spec.model_env}"
    return None
