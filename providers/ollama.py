"""Ollama: LangChain's class as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_ollama import ChatOllama


def build(
    *, model: str, base_url: str, reasoning: bool | None, connect_seconds: float, read_seconds: float
) -> ChatOllama:
    """The chat model. `reasoning` True asks for the model's thinking as `reasoning_content`; None leaves it to the
    server."""
    import httpx
    from langchain_ollama import ChatOllama

    return ChatOllama(
        model=model,
        base_url=base_url,
        reasoning=reasoning,
        client_kwargs={"timeout": httpx.Timeout(read_seconds, connect=connect_seconds)},
    )


async def close(model: BaseChatModel) -> None:
    """Close the connections of a model; it can't be used afterwards."""
    client = getattr(model, "_async_client", None)
    if client is not None:
        await client.close()
