"""OpenAI and every server that speaks its chat completions: OpenRouter, DeepSeek, Gemini, Moonshot, LM Studio, vLLM,
llama.cpp.

LangChain's class as it is; only its HTTP client is ours, shared by all of them, so that it lives and dies with the
registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2
    from langchain_openai import ChatOpenAI

NO_KEY = "not-needed"
"""Sent to servers that ask for no key; the client library insists on some text."""


def open_client(connect_seconds: float, read_seconds: float) -> httpx2.AsyncClient:
    """The HTTP client of all OpenAI-compatible models; the caller closes it. `read_seconds` bounds the silence
    between bytes."""
    import httpx2

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(read_seconds, connect=connect_seconds),
        limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30),
        follow_redirects=True,
    )


def build(
    client: httpx2.AsyncClient, *, model: str, base_url: str, api_key: str | None, read_seconds: float
) -> ChatOpenAI:
    """The chat model. One attempt a call: the retry loop is ours."""
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        model=model,
        base_url=base_url,
        api_key=SecretStr(api_key or NO_KEY),
        http_async_client=client,
        timeout=read_seconds,
        stream_chunk_timeout=None,  # providers.stream has the deadlines, and tells keep-alives from progress
        max_retries=0,
        stream_usage=True,
        use_responses_api=False,
    )
