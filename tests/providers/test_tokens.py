"""Counting tokens: the estimate is an upper bound of what vendors have published, and of tiktoken's count where its data is at hand."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from providers.tokens import (
    PER_CALL,
    PER_MESSAGE,
    PER_PROMPT,
    count_message,
    count_prompt,
    count_text,
    count_tools,
    prepare,
)

PUBLISHED = [
    ("Hello, my name is GPT-4o. I'm a new type of language model, it's nice to meet you!", 27, 24),
    (
        "Bonjour, je m'appelle GPT-4o. Je suis un nouveau type de modèle de langage, c'est un plaisir de vous rencontrer!",
        31,
        28,
    ),
    ("Olá, meu nome é GPT-4o. Sou um novo tipo de modelo de linguagem, é um prazer conhecê-lo!", 30, 27),
    ("Hola, me llamo GPT-4o. Soy un nuevo tipo de modelo de lenguaje, ¡es un placer conocerte!", 29, 26),
    ("Hallo, mein Name is GPT-4o. Ich bin ein neues KI-Sprachmodell. Es ist schön, dich kennenzulernen.", 34, 29),
    ("Ciao, mi chiamo GPT-4o. Sono un nuovo tipo di modello linguistico, è un piacere conoscerti!", 34, 28),
    ("Merhaba, benim adım GPT-4o. Ben yeni bir dil modeli türüyüm, tanıştığımıza memnun oldum!", 39, 30),
    ("こんにちわ、私の名前はGPT−4oです。私は新しいタイプの言語モデルです、初めまして", 37, 26),
    ("你好，我的名字是GPT-4o。我是一种新型的语言模型，很高兴见到你!", 34, 24),
    ("Xin chào, tên tôi là GPT-4o. Tôi là một loại mô hình ngôn ngữ mới, rất vui được gặp bạn!", 46, 30),
    ("안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 언어 모델입니다, 만나서 반갑습니다!", 45, 27),
    ("Привет, меня зовут GPT-4o. Я — новая языковая модель, приятно познакомиться!", 39, 23),
    ("नमस्ते, मेरा नाम जीपीटी-4o है। मैं एक नए प्रकार का भाषा मॉडल हूँ। आपसे मिलकर अच्छा लगा!", 90, 31),
]
"""Sentences of the GPT-4o release with their counts in cl100k and o200k."""
SAMPLES = [
    *(text for text, _, _ in PUBLISHED),
    "Неустойка за просрочку поставки составляет 0,1 % от цены за каждый день, но не более 10 %.",
    "def reserve(tokens: int) -> None:\n    if tokens > self.left:\n        raise QuotaExceeded(limit=self.limit)\n",
    "🙂🚀👩‍👩‍👧‍👦 ok 👍🏽",
    "| Q1 | 1 234 567,89 ₽ | 2026-03-31 |\n|----|------|\n" * 4,
    json.dumps({"type": "object", "properties": {"query": {"type": "string", "description": "What to look for"}}}),
    "https://example.org/a/b?c=d&e=f#0123456789abcdef",
]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "search_documents",
        "description": "Search. Поиск по документам.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


@pytest.mark.parametrize(("text", "cl100k", "o200k"), PUBLISHED)
def test_published_counts_are_bounded(text: str, cl100k: int, o200k: int) -> None:
    assert cl100k <= count_text("some-model-nobody-knows", text) <= 1.65 * cl100k
    assert o200k <= count_text("openai/gpt-4o-mini", text) <= 2 * o200k


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4"])
@pytest.mark.parametrize("text", SAMPLES)
def test_the_estimate_bounds_the_tokenizer(model: str, text: str) -> None:
    if not prepare(model):
        pytest.skip("the tokenizer's data is not in tiktoken's cache here, and it is never downloaded")
    assert count_text(model, text) <= count_text("some-model-nobody-knows", text)


@pytest.mark.parametrize("text", SAMPLES)
def test_no_model_needs_more_tokens_than_bytes(text: str) -> None:
    for model in ("gpt-4o", "qwen3:8b", "gemini-2.5-flash", "kimi-k2-thinking", "some-model-nobody-knows"):
        assert 0 < count_text(model, text) <= 1.25 * len(text.encode())


@given(st.text(max_size=400), st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_more_text_never_has_fewer_tokens(first: str, second: str) -> None:
    both = count_text("some-model-nobody-knows", first + second)
    apart = count_text("some-model-nobody-knows", first) + count_text("some-model-nobody-knows", second)
    assert both <= apart + 2  # a space where they meet may become a token of its own, and both are rounded up
    assert (both == 0) == (first + second == "")


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_character_counts(text: str) -> None:
    """No alphabet and no sign is free: a vocabulary has no token for long runs of what it doesn't know."""
    strange = [c for c in text if ord(c) > 0x7F]
    assert count_text("some-model-nobody-knows", text) >= 0.45 * len(strange)


def test_what_the_chat_format_adds_is_counted() -> None:
    call = {"name": "search_documents", "args": {"query": "неустойка"}, "id": "call_1", "type": "tool_call"}
    said = AIMessage("Looking.", tool_calls=[call], additional_kwargs={"reasoning_content": "It asks for a penalty."})
    plain = count_message("m", AIMessage("Looking."))
    assert plain == PER_MESSAGE + count_text("m", "Looking.")
    thought, arguments = count_text("m", "It asks for a penalty."), count_text("m", '{"query": "неустойка"}')
    assert count_message("m", said) == plain + PER_CALL + count_text("m", "search_documents") + arguments + thought
    messages = [SystemMessage("Answer."), HumanMessage("?"), said, ToolMessage("{}", tool_call_id="call_1")]
    total = PER_PROMPT + sum(count_message("m", message) for message in messages) + count_tools("m", [TOOL])
    assert count_prompt("m", messages, [TOOL]) == total
    assert count_tools("m", [TOOL]) > count_text("m", "Search. Поиск по документам.")


def test_images_are_not_free() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert count_message("m", HumanMessage([{"type": "text", "text": "What is it?"}, picture])) > 1_000


def test_a_known_text_is_counted_the_same_again() -> None:
    text = "Неустойка за просрочку. " * 500
    assert count_text("gpt-4o", text) == count_text("gpt-4o", "".join(text))


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("counting tokens reached for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert count_text("gpt-4o", "hello there") > 0
    prepare("gpt-4o")
    assert count_text("gpt-4o", "hello there") > 0
