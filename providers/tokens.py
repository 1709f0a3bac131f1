"""How many tokens a prompt has for a model: counted by the model's own tokenizer where its data is at hand, else estimated.

tiktoken fetches the data of an encoding when it is first used; here it is used only where the data already lies in its cache
(TIKTOKEN_CACHE_DIR, DATA_GYM_CACHE_DIR or its default), so that counting never reaches the network. It is loaded beside the event
loop, and estimated until it is there.

The estimate cuts a text as tokenizers do: a Latin word into pieces of four letters, a Cyrillic one of two (three where the
vocabulary has 200,000 entries), other letters, signs and digits by themselves. It was set by counts that vendors and others have
published: the sentences of the GPT-4o release in twenty languages (cl100k: English 27, German 34, Russian 39, Chinese 34, Hindi 90,
Telugu 159; o200k: 24, 29, 23, 24, 31, 45), a million words each of English and Hungarian (cl100k: 1.38 and 3.06 tokens a word), and
DeepSeek's 0.6 tokens a Chinese character. Of those it is an upper bound, mostly 1.1 to 1.5 times the count; only Vietnamese in
o200k it takes for twice as long as it is. Text that nobody writes (random letters) may have more tokens than estimated.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
import threading
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from langchain_core.messages import AIMessage, BaseMessage

if TYPE_CHECKING:
    import tiktoken

log = structlog.get_logger(__name__)

PER_MESSAGE, PER_PROMPT, PER_CALL, PER_TOOL = 4, 3, 8, 8
"""Tokens a chat format adds: to a message, to the whole, to a tool call, to a tool's schema."""
PER_IMAGE = 1_100
"""Of an image or another block that isn't text: what vendors count for a large one."""
REMEMBERED = 20_000
"""Texts whose counts are kept."""
_WORTH_REMEMBERING = 64
_LONGEST = 400_000
"""Characters beyond which the estimate has to do: tokenizers are slow on a long text without spaces."""

_DATA = {
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
}
"""The file of an encoding in tiktoken's cache, and what its content must hash to: one that doesn't is fetched again."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What the estimate has to know of a vocabulary. Weights are tokens a character. There is one of each, told apart by identity:
    a prompt's counts are looked up hundreds of times a turn."""

    cyrillic: int
    """Letters a token, within a word."""
    digits: int
    """Digits a token, within a number."""
    han: float
    """Chinese and Japanese characters, Korean syllables."""
    near: float
    """Letters of two bytes: Greek, Hebrew, Arabic, Armenian."""
    devanagari: float
    far: float
    """Other letters of three bytes."""
    astral: float
    """Emoji and whatever else takes four."""
    margin: float = 1.0
    """By which the sum is multiplied: of languages that share the Latin letters English has the fewest tokens a word."""


_NARROW = Shape(cyrillic=2, digits=1, han=1.15, near=1.25, devanagari=1.4, far=2.0, astral=3.0, margin=1.1)
"""Of a vocabulary of 100,000 entries made for English, that cuts numbers into digits: the upper bound, for whatever isn't known."""
_O200K = Shape(cyrillic=3, digits=3, han=0.85, near=0.55, devanagari=0.55, far=0.65, astral=2.5)
_SHAPES: tuple[tuple[re.Pattern[str], Shape], ...] = (
    (re.compile(r"gpt-4o|gpt-4\.[15]|gpt-5|gpt-oss|chatgpt-4o|o[134](-|$)"), _O200K),
    (re.compile(r"gpt-|text-embedding-"), Shape(2, 3, 1.15, 1.25, 1.4, 2.0, 3.0, 1.1)),
    (re.compile(r"gemini|gemma"), Shape(3, 1, 0.85, 0.75, 0.8, 1.0, 2.5)),
    (re.compile(r"deepseek|kimi|moonshot"), Shape(2, 3, 0.85, 1.25, 1.4, 2.0, 3.0, 1.1)),
    (re.compile(r"qwen|qwq|glm"), Shape(2, 1, 0.85, 1.25, 1.4, 2.0, 3.0, 1.1)),
)
"""By the beginning of a model's bare name; the first that fits."""

_ASCII = (
    r"[A-Za-z][a-z]{0,3}|[0-9]{1,%d}|[-=_*#.~]{3,16}|[!-/:-@\[-`{-~]{1,2}"
    r"|[\r\n]+|[ \t]{2,}|[ \t](?=[0-9])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_CYRILLIC = r"[Ѐ-ԯ]{1,%d}|"
_BEYOND = r"|[À-ÖØ-öø-ɏḀ-ỿ]|[\u0080-¿×÷ɐ-ͯ\u2000-⁯]"
_REST = re.compile(r"[Ͱ-Ͽ԰-᷿ἀ-῿⁰-\U0010ffff]")
"""What is weighed by the character."""
_HAN = re.compile(r"[ᄀ-ᇿ⺀-꓏가-퟿豈-﫿＀-￯]+")
_NEAR = re.compile(r"[Ͱ-Ͽ԰-߿]+")
_DEVANAGARI = re.compile(r"[ऀ-ॿ]+")
_FAR = re.compile(r"[ࠀ-ࣿঀ-ჿሀ-᷿ἀ-῿⁰-⹿ꓐ-꯿\ud800-\udfff\ue000-﷿︀-﻿\ufff0-\uffff]+")
_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]+")


def count_text(model: str, text: str) -> int:
    """Tokens of `text` for a model, given by its name with or without its provider's (`openai/gpt-4o-mini`). 0 for ''."""
    tokenizer = _tokenizer(model)
    encoder = tokenizer.encoder()
    if len(text) < _WORTH_REMEMBERING:
        return _count(encoder, tokenizer.shape, text)
    key, counts = (encoder.name if encoder else tokenizer.shape, hash(text), len(text)), _counts()
    known = counts.get(key)
    if known is None:
        if len(counts) >= REMEMBERED:
            counts.pop(next(iter(counts)), None)
        known = counts[key] = _count(encoder, tokenizer.shape, text)
    return known


def vocabulary(model: str) -> Hashable:
    """What the counts of a model's tokens depend on, now."""
    tokenizer = _tokenizer(model)
    encoder = tokenizer.encoder()
    return encoder.name if encoder else tokenizer.shape


def count_message(model: str, message: BaseMessage) -> int:
    """Tokens of one message: its text, tool calls and echoed reasoning, with what the chat format adds to it."""
    total = PER_MESSAGE + _content(model, message.content)
    if message.name:
        total += 1 + count_text(model, message.name)
    for call in message.tool_calls if isinstance(message, AIMessage) else ():
        arguments = json.dumps(call["args"], ensure_ascii=False, default=str)
        total += PER_CALL + count_text(model, call["name"]) + count_text(model, arguments)
    if reasoning := message.additional_kwargs.get("reasoning_content"):
        total += count_text(model, str(reasoning))
    return total


def count_tools(model: str, tools: Sequence[Mapping[str, Any]]) -> int:
    """Tokens of the tools' schemas, in OpenAI's format."""
    return sum(PER_TOOL + count_text(model, orjson.dumps(tool).decode()) for tool in tools)


def count_prompt(model: str, messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]] = ()) -> int:
    """Tokens of a whole prompt: messages, tool schemas, and what the chat format adds."""
    return PER_PROMPT + sum(count_message(model, message) for message in messages) + count_tools(model, tools)


def prepare(model: str, *, seconds: float = 10.0) -> bool:
    """Load the model's own tokenizer, at most so long; whether it counts from now on. Blocks: not for the event loop."""
    name = _encoding(model.rpartition("/")[2].lower())
    return name is not None and _loading(name).result(seconds) is not None


def _content(model: str, content: str | list[str | dict[str, Any]]) -> int:
    if isinstance(content, str):
        return count_text(model, content)
    total = 0
    for block in content:
        if isinstance(block, str):
            total += count_text(model, block)
        else:
            total += count_text(model, str(block["text"])) if "text" in block else PER_IMAGE
    return total


def _count(encoder: tiktoken.Encoding | None, shape: Shape, text: str) -> int:
    if encoder is not None and len(text) <= _LONGEST:
        return len(encoder.encode_ordinary(text))
    return estimate(shape, text)


def estimate(shape: Shape, text: str) -> int:
    """Tokens of `text` as a vocabulary of that shape would cut it."""
    if not text:
        return 0
    ascii_only, whole = _cutters(shape)
    if text.isascii():
        return max(1, math.ceil(shape.margin * len(ascii_only.findall(text))))
    cut = len(whole.findall(text))
    if _REST.search(text) is None:
        return math.ceil(shape.margin * cut)
    weighed = (
        (_HAN, shape.han),
        (_NEAR, shape.near),
        (_DEVANAGARI, shape.devanagari),
        (_FAR, shape.far),
        (_ASTRAL, shape.astral),
    )
    rest = sum(weight * sum(map(len, found)) for pattern, weight in weighed if (found := pattern.findall(text)))
    return math.ceil(shape.margin * (cut + rest))


@cache
def _shape(bare: str) -> Shape:
    return next((shape for pattern, shape in _SHAPES if pattern.match(bare)), _NARROW)


@cache
def _cutters(shape: Shape) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Each match is a token: of a text of ASCII alone, and of any."""
    ascii_only = _ASCII % shape.digits
    return re.compile(ascii_only), re.compile(_CYRILLIC % shape.cyrillic + ascii_only + _BEYOND)


@cache
def _counts() -> dict[tuple[Shape | str, int, int], int]:
    """Counts by text, of which only the hash is kept; the oldest go first."""
    return {}


@cache
def _encoding(bare: str) -> str | None:
    """The name of the model's encoding, where tiktoken knows it and its data can be looked for."""
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(bare)
    except KeyError:
        return None
    return name if name in _DATA else None


class _Tokenizer:
    """How a model's texts are counted: by its own encoding once it is loaded, by its shape until then."""

    def __init__(self, bare: str) -> None:
        self.shape = _shape(bare)
        name = _encoding(bare)
        self._loading = _loading(name) if name is not None else None
        self._encoder: tiktoken.Encoding | None = None

    def encoder(self) -> tiktoken.Encoding | None:
        """The encoding, where it is loaded."""
        if self._loading is not None and self._loading.done():
            self._encoder, self._loading = self._loading.result(), None
        return self._encoder


@cache
def _tokenizer(model: str) -> _Tokenizer:
    return _Tokenizer(model.rpartition("/")[2].lower())


@cache
def _loading(name: str) -> Future[tiktoken.Encoding | None]:
    """The encoding, once it is loaded; None where its data isn't at hand."""
    future: Future[tiktoken.Encoding | None] = Future()
    path = _cached(name)
    if path is None:
        future.set_result(None)
    else:
        threading.Thread(target=_load, args=(name, path, future), daemon=True, name=f"tokens-{name}").start()
    return future


def _load(name: str, path: Path, future: Future[tiktoken.Encoding | None]) -> None:
    encoding = None
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == _DATA[name][1]:
            import tiktoken

            encoding = tiktoken.get_encoding(name)
    except (OSError, ValueError, ImportError) as unusable:
        log.warning("a tokenizer can't be loaded; tokens are estimated", encoding=name, error=str(unusable))
    finally:
        future.set_result(encoding)


def _cached(name: str) -> Path | None:
    """The encoding's data in tiktoken's cache. An empty variable turns that cache off: then there is none."""
    default = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))
    path = Path(folder) / _DATA[name][0]
    return path if folder and path.is_file() else None
