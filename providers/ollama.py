"""Ollama: LangChain's class as it is, on a guarded transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from langchain_ollama import ChatOllama

from domain.catalogue import Timeouts
from providers.wire.framing import Lines
from providers.wire.ollama import OllamaDialect
from providers.wire.transport import Wire, guard_transport

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class GuardedChatOllama(ChatOllama):
    """ChatOllama whose answers a guard has checked."""

    guarded: ClassVar[bool] = True


def build(
    *,
    provider: str,
    model: str,
    base_url: str,
    reasoning: bool | str | None,
    timeouts: Timeouts,
    context_tokens: int | None = None,
) -> GuardedChatOllama:
    """The chat model. `reasoning` True, or an effort, asks for the model's thinking as `reasoning_content`; None leaves it to the
    server. `context_tokens` is asked for: left to itself the server takes a small context and silently cuts longer prompts."""
    import httpx

    wire = Wire(
        provider=provider,
        path="/api/chat",
        key_variable=None,
        timeouts=timeouts,
        frames=Lines,
        dialect=OllamaDialect,
        streams=lambda body: body.get("stream", True) is not False,
        content_type="application/x-ndjson",
    )
    transport: Any = guard_transport(httpx, httpx.AsyncHTTPTransport(), wire)
    return GuardedChatOllama(
        model=model,
        base_url=base_url,
        reasoning=reasoning,
        num_ctx=context_tokens,
        client_kwargs={"timeout": httpx.Timeout(None, connect=timeouts.connect)},
        async_client_kwargs={"transport": transport},
    )


async def close(model: BaseChatModel) -> None:
    """Close the connections of a model; it can't be used afterwards."""
    client = getattr(model, "_async_client", None)
    if client is not None:
        await client.close()
