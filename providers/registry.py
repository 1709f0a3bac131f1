"""The registry: which providers this process can use, and their chat models, built at first use and kept."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from domain.catalogue import Catalogue, ModelSpec, ProviderSpec
from domain.errors import ConfigurationError, NoProvider
from domain.policy import ReasoningEffort
from providers.access import Access, resolve
from providers.route import ProviderState, Snapshot
from providers.wire.http import Http
from providers.wire.openai_http import Endpoint

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from providers import huggingface
    from providers.embedding import EmbeddingEndpoint

CONNECT_SECONDS = 5.0
KEPT = 200
"""Models that are kept: a request may name any."""


class Providers:
    """All providers of the catalogue as configured by `environ`. One per process, made in the lifespan, closed at
    its end."""

    def __init__(self, catalogue: Catalogue, environ: Mapping[str, str], analyse: Callable[[str], list[str]]) -> None:
        self.catalogue = catalogue
        self._access: dict[str, Access] = {spec.name: resolve(spec, environ) for spec in catalogue.providers}
        self._snapshot = Snapshot(
            {name: ProviderState(a.default_model, a.unusable, a.embed_model) for name, a in self._access.items()}
        )
        self._analyse = analyse
        self._models: dict[tuple[str, str, str | None], BaseChatModel] = {}
        self._retired: list[BaseChatModel] = []
        """Models no longer kept; a call may still be under way, so they are closed at the end."""
        self._http = Http(CONNECT_SECONDS)
        self._host: huggingface.Host | None = None

    def usable(self) -> tuple[str, ...]:
        """Names of the providers that can be called, in the catalogue's order."""
        return tuple(spec.name for spec in self.catalogue.providers if self._access[spec.name].unusable is None)

    def snapshot(self) -> Snapshot:
        """What the route's choice needs to know of this process."""
        return self._snapshot

    def chat(self, provider: str, model: str | None = None, *, effort: ReasoningEffort | None = None) -> BaseChatModel:
        """The chat model; `model` None is the provider's default. The same object for the same three.

        Raises NoProvider where the provider is unknown or unusable.
        """
        spec = self.catalogue.provider(provider)
        access = self._access.get(provider)
        if spec is None or access is None:
            raise NoProvider(
                f"There is no provider '{provider[:100]}'; available: {', '.join(self.usable())}.",
                provider=provider[:100],
                available=list(self.usable()),
            )
        name = spec.model(model).name if model else access.default_model
        if access.unusable is not None or name is None:
            raise NoProvider(
                f"Provider '{provider}' can't be used: {access.unusable}; available: {', '.join(self.usable())}.",
                provider=provider,
                available=list(self.usable()),
            )
        key = (provider, name, effort)
        if key not in self._models:
            if len(self._models) >= KEPT:
                self._retired.append(self._models.pop(next(iter(self._models))))
            self._models[key] = self._build(spec, access, spec.model(name), effort)
        return self._models[key]

    def _build(
        self, spec: ProviderSpec, access: Access, model: ModelSpec, effort: ReasoningEffort | None
    ) -> BaseChatModel:
        if spec.family == "extractive":
            from providers.extractive.model import build

            return build(self._analyse)
        if spec.family == "huggingface":
            return self._in_process(spec, access, model)
        if access.base_url is None:
            raise ConfigurationError(f"Provider '{spec.name}' has no address: set {spec.base_url_env}.")
        # True only where the catalogue is sure: a model that can't think refuses the request.
        thinks = model.capabilities.reasoning is True
        if spec.family == "ollama":
            from providers import ollama

            return ollama.build(
                provider=spec.name,
                model=model.name,
                base_url=access.base_url,
                reasoning=(effort or True) if thinks and effort != "none" else None,
                timeouts=spec.timeouts,
                context_tokens=model.capabilities.context_tokens,
            )
        if spec.family == "anthropic":
            from providers import anthropic

            return anthropic.build(
                provider=spec.name,
                model=model.name,
                base_url=access.base_url,
                api_key=access.api_key or "",
                key_variable=spec.api_key_env,
                effort=effort if thinks and effort != "none" else None,
                timeouts=spec.timeouts,
            )
        from providers import openai_compatible

        return openai_compatible.build(
            self.endpoint(spec.name),
            model=model.name,
            echo_reasoning=spec.echo_reasoning,
            signed_calls=spec.signed_calls,
            output_limit=spec.output_limit,
            effort=effort if thinks else None,
        )

    def _in_process(self, spec: ProviderSpec, access: Access, model: ModelSpec) -> BaseChatModel:
        from providers import huggingface

        if self._host is None:
            self._host = huggingface.Host(reserve_mb=spec.memory_reserve_mb)
        served = frozenset(name for name in (access.default_model, *(m.name for m in spec.models)) if name)
        return huggingface.build(
            self._host, provider=spec.name, model=model.name, served=served, timeouts=spec.timeouts
        )

    def endpoint(self, provider: str) -> Endpoint:
        """Where an OpenAI-compatible provider is reached. Raises ConfigurationError where it has no address."""
        spec, access = self.catalogue.provider(provider), self._access[provider]
        assert spec is not None, "the catalogue has what it gave access to"
        if access.base_url is None:
            raise ConfigurationError(f"Provider '{provider}' has no address: set {spec.base_url_env}.")
        return Endpoint(self._http, provider, access.base_url, access.api_key, spec.api_key_env, spec.timeouts)

    def embedder(self, provider: str) -> EmbeddingEndpoint:
        """Where a provider's embeddings are had. Raises ConfigurationError as `endpoint`, NoProvider for a family without any."""
        from providers.embedding import EmbeddingEndpoint

        spec, at = self.catalogue.provider(provider), self.endpoint(provider)
        assert spec is not None, "it has an endpoint"
        if spec.family not in ("openai_compatible", "ollama"):
            raise NoProvider(f"Provider '{provider}' makes no embeddings.", provider=provider)
        return EmbeddingEndpoint(at.http, spec.family, provider, at.base_url, at.api_key, at.key_variable, at.timeouts)

    async def warm(self) -> None:
        """Import the vendors' packages and build the usable providers' default models, in a thread: the first import of
        one takes seconds, which the first request should not."""
        for name in self.usable():
            await asyncio.to_thread(self.chat, name)

    def matrix(self) -> list[dict[str, Any]]:
        """One row a provider for `GET /v1/providers`: capabilities and prices (null where unknown), location,
        whether it is usable, and if not, why. No key and no address."""
        return [self._row(spec, self._access[spec.name]) for spec in self.catalogue.providers]

    @staticmethod
    def _row(spec: ProviderSpec, access: Access) -> dict[str, Any]:
        names = [model.name for model in spec.models]
        if access.default_model and spec.model(access.default_model).name not in names:
            names.insert(0, access.default_model)
        return {
            "provider": spec.name,
            "family": spec.family,
            "location": spec.location,
            "usable": access.unusable is None,
            "reason": access.unusable,
            "default_model": access.default_model,
            "models": [
                {
                    "name": model.name,
                    "aliases": list(model.aliases),
                    "capabilities": model.capabilities.model_dump(),
                    "price": model.price.model_dump() if model.price else None,
                }
                for model in map(spec.model, names)
            ],
        }

    async def aclose(self) -> None:
        """Close every connection."""
        models, self._models, self._retired = [*self._models.values(), *self._retired], {}, []
        for model in models:
            if close := getattr(sys.modules[type(model).__module__], "close", None):
                await close(model)
        await self._http.aclose()
        if self._host is not None:
            await self._host.aclose()
            self._host = None
