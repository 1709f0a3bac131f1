"""A server whose models are served by the scripted upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from storage.invariants import violations
from tests.serving import Served, serve, settings_for
from tests.upstream.server import Upstream

Serving = Callable[..., AbstractAsyncContextManager[Served]]
WIRES = ["openai", "ollama", "anthropic"]


@pytest.fixture
def serving(owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Start a server with these settings, models from `upstream` over `wire` ('openai', 'ollama', 'anthropic', or None for no model);
    `local` serves Ollama's models beside it."""

    @asynccontextmanager
    async def start(
        upstream: Upstream | None, wire: str | None = "openai", *, local: Upstream | None = None, **environ: str
    ) -> AsyncIterator[Served]:
        for name in (
            "OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_BASE_URL", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
        ):  # fmt: skip
            monkeypatch.delenv(name, raising=False)
        if upstream is not None and wire == "openai":
            monkeypatch.setenv("OPENAI_BASE_URL", upstream.openai_url)
            monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-that-must-not-be-seen-anywhere")
        elif upstream is not None and wire == "anthropic":
            monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream.url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-a-key-that-must-not-be-seen-anywhere")
        elif upstream is not None and wire == "ollama":
            monkeypatch.setenv("OLLAMA_BASE_URL", upstream.url)
        if local is not None:
            monkeypatch.setenv("OLLAMA_BASE_URL", local.url)
        async with serve(settings_for(owner_dsn, tmp_path, **environ)) as served:
            yield served

    return start


@pytest.fixture(autouse=True)
def sound(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the test did to it, the database holds what it must hold."""
    dsn = request.getfixturevalue("owner_dsn") if "owner_dsn" in request.fixturenames else None
    yield
    if dsn is not None:
        assert violations(dsn) == []
