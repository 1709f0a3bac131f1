"""A Hugging Face model in memory, and one generation with it. Blocking: for a thread of its own.

Importing this imports torch and transformers, which takes seconds; nothing does before the first call of such a model.
Only weights in safetensors are loaded, and no code that comes with a model is run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import TextStreamer
from transformers.utils import logging

from domain.errors import ProviderBusy, ProviderRejected, ProviderUnavailable
from providers.memory import available_bytes

MB = 1_000_000
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One generation. Messages and tools are OpenAI's, arguments of calls as objects; `temperature` None is the model's own."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    max_tokens: int
    temperature: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """What a generation came to. `finish` is OpenAI's word."""

    prompt_tokens: int
    completion_tokens: int
    finish: str


@dataclass(slots=True)
class LoadedModel:
    """Weights and tokenizer on their device."""

    provider: str
    name: str
    tokenizer: Any
    model: Any
    context_tokens: int | None

    def prompt(self, asked: Asked) -> Any:
        """The prompt as tokens of the model's own template. Control tokens in what people and documents say are plain text."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise ProviderRejected(
                self.provider, f"'{self.name}' has no chat template; use an instruct model", reason="model"
            )
        try:
            encoded = self.tokenizer.apply_chat_template(
                asked.messages,
                tools=asked.tools or None,
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
                sanitize_control_tokens=True,
            )
        except (TemplateError, ValueError) as refused:
            why = f"the template of '{self.name}' can't take the conversation: {refused}"[:300]
            raise ProviderRejected(self.provider, why, reason="request") from refused
        length = int(encoded["input_ids"].shape[1])
        if self.context_tokens is not None and length >= self.context_tokens:
            raise ProviderRejected(
                self.provider,
                f"the prompt has {length} tokens, '{self.name}' takes {self.context_tokens}",
                reason="request",
            )
        return encoded.to(self.model.device)

    def thinks_at_once(self, prompt: Any) -> bool:
        """Whether the template has opened the model's reasoning already."""
        return bool(self.tokenizer.decode(prompt["input_ids"][0][-8:]).rstrip().endswith("<think>"))

    def generate(self, asked: Asked, prompt: Any, said: Callable[[str, int], None]) -> Told:
        """`said` gets the text as it comes and the number of tokens so far; what it raises ends the generation."""
        length = int(prompt["input_ids"].shape[1])
        left = asked.max_tokens if self.context_tokens is None else min(asked.max_tokens, self.context_tokens - length)
        sampling: dict[str, Any] = {}
        if asked.temperature is not None:
            sampling = (
                {"do_sample": True, "temperature": asked.temperature} if asked.temperature else {"do_sample": False}
            )
        spoken = _Spoken(self.tokenizer, said)
        try:
            with torch.inference_mode():
                whole = self.model.generate(**prompt, max_new_tokens=left, streamer=spoken, **sampling)
        except torch.OutOfMemoryError as full:
            raise ProviderBusy(self.provider, f"ran out of memory with '{self.name}'", reason="memory") from full
        except RuntimeError as broken:
            raise ProviderUnavailable(
                self.provider, f"broke off with '{self.name}': {str(broken)[:200]}", reason="stream_error"
            ) from broken
        made = whole[0][length:].tolist()
        ended = bool(made) and made[-1] in self._ends()
        return Told(length, len(made), "stop" if ended else "length")

    def _ends(self) -> Sequence[int]:
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        return [ends] if isinstance(ends, int) else list(ends or ())


class _Spoken:
    """What generation tells of its tokens, as text."""

    def __init__(self, tokenizer: Any, said: Callable[[str, int], None]) -> None:
        self._said = said
        self._tokens = -1
        """So far; the first that comes is the prompt."""
        self._text = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._text.on_finalized_text = self._pass

    def put(self, value: Any) -> None:
        self._tokens += 1
        self._text.put(value)

    def end(self) -> None:
        self._text.end()

    def _pass(self, text: str, stream_end: bool = False) -> None:
        self._said(text, max(0, self._tokens))


def load(provider: str, name: str, *, reserve_mb: int) -> LoadedModel:
    """The model of a folder, or of a name in the hub, which is downloaded where the cache hasn't got it.

    Raises ProviderRejected where there is no such model, ProviderBusy where its weights would leave less than `reserve_mb` free.
    """
    folder = Path(name) if Path(name).is_dir() else _downloaded(provider, name)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not weights:
        raise ProviderRejected(provider, f"'{name}' has no weights in safetensors", reason="model")
    gc.collect()
    logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_memory(provider, name, weights, free_bytes(device), reserve_mb)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
        model = model.to(device).eval()
    except torch.OutOfMemoryError as full:
        raise ProviderBusy(provider, f"has no memory for '{name}'", reason="memory") from full
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as broken:
        raise ProviderRejected(provider, f"can't load '{name}': {type(broken).__name__}", reason="model") from broken
    context = getattr(model.config, "max_position_embeddings", None)
    return LoadedModel(provider, name, tokenizer, model, context if isinstance(context, int) else None)


def check_memory(provider: str, name: str, needed: int, free: int | None, reserve_mb: int) -> None:
    """Raises ProviderBusy where `needed` bytes don't fit; what can't be measured isn't refused."""
    if free is not None and free - needed < reserve_mb * MB:
        raise ProviderBusy(
            provider,
            f"'{name}' needs {needed // MB} MB of memory, {free // MB} MB are free, and {reserve_mb} MB are to stay so",
            reason="memory",
            needed_mb=needed // MB,
            free_mb=free // MB,
            reserve_mb=reserve_mb,
        )


def free_bytes(device: Any = None) -> int | None:
    """Of the memory that models are put into."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


def _downloaded(provider: str, name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as missing:
        raise ProviderRejected(
            provider,
            f"there is no model '{name[:200]}' here or in the hub; HUGGINGFACE_MODEL names a folder or a model",
            reason="model",
        ) from missing
