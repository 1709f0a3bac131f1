"""Anthropic's Claude: LangChain's class as it is, on a guarded transport. Needs the extra `consilium[anthropic]`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from langchain_anthropic import ChatAnthropic
from langchain_core.outputs import ChatGenerationChunk
from pydantic import SecretStr

from domain.catalogue import Timeouts
from providers.wire.anthropic import AnthropicDialect
from providers.wire.framing import ServerSentEvents
from providers.wire.transport import Wire, guard_transport

MAX_TOKENS = 8192
"""Of an answer, where the request says nothing: this wire insists on a number."""


class GuardedChatAnthropic(ChatAnthropic):
    """ChatAnthropic whose answers a guard has checked. Reasoning is in `additional_kwargs.reasoning_content`, as everywhere."""

    guarded: ClassVar[bool] = True

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for generation in super()._astream(*args, **kwargs):
            if thought := _thought(generation.message.content):
                generation.message.additional_kwargs["reasoning_content"] = thought
            yield generation


def _thought(content: str | list[str | dict[str, Any]]) -> str:
    """What the blocks of a chunk say of the model's thinking. It doesn't go back: adaptive thinking does without."""
    blocks = [block for block in content if isinstance(block, dict)]
    return "".join(str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking")


def build(
    *,
    provider: str,
    model: str,
    base_url: str,
    api_key: str,
    key_variable: str | None,
    effort: str | None,
    timeouts: Timeouts,
) -> GuardedChatAnthropic:
    """The chat model. One attempt a call: the retry loop is ours."""
    import anthropic
    import httpx2

    wire = Wire(
        provider=provider,
        path="/v1/messages",
        key_variable=key_variable,
        timeouts=timeouts,
        frames=ServerSentEvents,
        dialect=AnthropicDialect,
        streams=lambda body: bool(body.get("stream")),
        content_type="text/event-stream",
    )
    limits: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
    chat = GuardedChatAnthropic(
        model_name=model,
        base_url=base_url,
        api_key=SecretStr(api_key),
        max_retries=0,
        max_tokens_to_sample=MAX_TOKENS,
        timeout=None,
        stop=None,
        **limits,
    )
    client = httpx2.AsyncClient(
        transport=guard_transport(httpx2, httpx2.AsyncHTTPTransport(), wire),
        timeout=httpx2.Timeout(None, connect=timeouts.connect),
    )
    # the class makes its client at first use and takes none; this is the place it keeps it in
    chat.__dict__["_async_client"] = anthropic.AsyncAnthropic(
        api_key=api_key, base_url=base_url, max_retries=0, http_client=client
    )
    return chat


async def close(model: Any) -> None:
    """Close the connections of a model; it can't be used afterwards."""
    await model.__dict__["_async_client"].close()
