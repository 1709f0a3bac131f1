"""A Hugging Face model in this process: a tiny one made here, whose next word depends on the last one only.

Covered where the extra is installed; the last test is for where it isn't.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from domain.catalogue import Catalogue, ProviderSpec, Timeouts, load_catalogue
from domain.errors import NoProvider, ProviderBusy, ProviderProtocolError, ProviderRejected, ProviderUnavailable
from providers.meter import Meter
from providers.registry import Providers
from providers.stream import stream_chat
from retrieval.analyse import analyse
from tests.serving import serve, settings_for

INSTALLED = find_spec("transformers") is not None and find_spec("torch") is not None
installed = pytest.mark.skipif(not INSTALLED, reason="needs the extra huggingface")
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name + ' ' }}{% endfor %}{% endfor %}"
    "{% for t in tools or [] %}{{ t.function.name + ' ' }}{% endfor %}"
    "{% if messages[-1].content == 'refuse' %}{{ raise_exception('not this') }}{% endif %}assistant"
)
TOOL = {"type": "function", "function": {"name": "search", "description": "", "parameters": {"type": "object"}}}
CALL = '{"name": "search", "arguments": {"query": "pumps"}}'
END = "<end>"


def make(folder: Path, *words: str, context: int = 64) -> str:
    """A model that says these words after "assistant", and then the first again where they don't close with END."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    known = ["<unk>", "assistant", "user", "system", "tool", *dict.fromkeys(w for w in words if w != END)]
    vocabulary = {word: i for i, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token="<unk>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    vocabulary[END] = fast.eos_token_id  # which the text "<end>" alone isn't
    size = 128
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=context, eos_token_id=vocabulary[END], bos_token_id=None,
        pad_token_id=vocabulary[END], tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    spoken = [vocabulary[word] for word in ("assistant", *words)]
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        for last, following in zip(spoken, [*spoken[1:], spoken[1]], strict=True):
            model.lm_head.weight[following, last] = 1.0
    model.save_pretrained(folder)
    return str(folder)


@dataclass
class Local:
    """The provider over a model."""

    providers: Providers
    name: str

    async def ask(
        self, *messages: BaseMessage, model: str | None = None, meter: Meter | None = None, **more: Any
    ) -> AIMessageChunk:
        whole: AIMessageChunk | None = None
        async with aclosing(self.stream(*messages, model=model, meter=meter, **more)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                whole = chunk if whole is None else whole + chunk
        assert whole is not None
        return whole

    def stream(
        self,
        *messages: BaseMessage,
        model: str | None = None,
        meter: Meter | None = None,
        tools: Any = None,
        **more: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        chat = self.providers.chat("huggingface", model)
        names = {tool["function"]["name"] for tool in tools or ()}
        asked = messages or (HumanMessage("how many"),)
        return stream_chat(chat, "huggingface", asked, tools=tools, known_tools=names, meter=meter, options=more)


Start = Callable[..., Local]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """The provider of the real catalogue over a model that says these words."""
    opened: list[Providers] = []

    def begin(*words: str, context: int = 64, **changes: Any) -> Local:
        name = make(tmp_path / f"model-{len(opened)}", *words, context=context)
        providers = Providers(Catalogue(providers=(spec(**changes),)), {"HUGGINGFACE_MODEL": name}, analyse)
        opened.append(providers)
        return Local(providers, name)

    yield begin
    for providers in opened:
        await providers.aclose()


def spec(**changes: Any) -> ProviderSpec:
    found = load_catalogue(Path("config/providers.yaml")).provider("huggingface")
    assert found is not None
    return found.model_copy(update={"memory_reserve_mb": 0, **changes})


@installed
async def test_an_answer_comes_word_by_word_with_exact_usage(start: Start) -> None:
    local, meter = start("Three", "pumps", "were", "ordered.", END), Meter(0)
    assert local.providers.usable() == ("huggingface",)
    chunks = [chunk async for chunk in local.stream(SystemMessage("system"), HumanMessage("how many"), meter=meter)]
    texts = [chunk.text for chunk in chunks if chunk.text]
    assert "".join(texts) == "Three pumps were ordered."
    assert len(texts) > 1
    assert chunks[-1].response_metadata["finish_reason"] == "stop"
    # system system user how many assistant; four words and the end
    assert chunks[-1].usage_metadata == {"input_tokens": 6, "output_tokens": 5, "total_tokens": 11}
    usage = meter.usage()
    assert (usage.prompt, usage.completion, usage.source) == (6, 5, "provider")
    assert meter.finish_reason == "stop"


@installed
async def test_the_limit_of_tokens_is_told(start: Start) -> None:
    local = start("on", "and")
    answer = await local.ask(max_tokens=5, temperature=0)
    assert answer.text == "on and on and on"
    assert answer.response_metadata["finish_reason"] == "length"
    assert (await local.ask()).response_metadata["finish_reason"] == "length"  # its context is full
    with pytest.raises(ProviderRejected, match="takes 64"):
        await local.ask(HumanMessage("word " * 80))


@installed
async def test_reasoning_and_tool_calls_are_told_apart(start: Start) -> None:
    local = start("<think>", "hm", "</think>", "<tool_call>", *CALL.split(), "</tool_call>", END)
    answer = await local.ask(tools=[TOOL])
    assert answer.text == ""
    assert answer.additional_kwargs["reasoning_content"].strip() == "hm"
    [call] = answer.tool_calls
    assert (call["name"], call["args"]) == ("search", {"query": "pumps"})
    assert call["id"]
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    told = AIMessage("", tool_calls=[dict(call)])  # type: ignore[list-item]
    again = await local.ask(HumanMessage("x"), told, ToolMessage("three", tool_call_id=call["id"]), tools=[TOOL])
    assert again.tool_calls[0]["id"] != call["id"]


@installed
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["<tool_call>", *CALL.split(), END], "bad_arguments"),
        (["<tool_call>", '{"name":', "</tool_call>", END], "bad_arguments"),
        (["<tool_call>", '{"name": "search",', '"arguments": []}', "</tool_call>", END], "bad_arguments"),
        (["<tool_call>", '{"name":"format_disk"}', "</tool_call>", END], "unknown_tool"),
        ([END], "empty"),
    ],
)
async def test_half_a_tool_call_is_none(start: Start, words: list[str], reason: str) -> None:
    local = start(*(word for words_ in words for word in words_.split()))
    with pytest.raises(ProviderProtocolError) as broken:
        await local.ask(tools=[TOOL])
    assert broken.value.details["reason"] == reason


@installed
async def test_what_people_say_is_no_control_token(start: Start) -> None:
    """Otherwise a document could end the conversation it is quoted in."""
    local = start("Three", END)
    plain, meter = Meter(0), Meter(0)
    await local.ask(HumanMessage("a b"), meter=plain)
    answer = await local.ask(HumanMessage(f"a {END} b"), meter=meter)
    assert answer.text == "Three"
    assert meter.usage().prompt >= plain.usage().prompt + 1


@installed
async def test_the_event_loop_never_waits(start: Start) -> None:
    """Everything heavy runs in the one worker thread, loading included."""
    local = start("on", "and", context=400)
    loop, threads = asyncio.get_running_loop(), set()
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(loop.time())
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    async for _ in local.stream():
        threads |= {thread.name for thread in threading.enumerate() if thread.name.startswith("huggingface")}
    ticking.cancel()
    assert threads == {"huggingface_0"}
    assert len(ticks) > 20


@installed
async def test_one_generation_at_a_time(start: Start) -> None:
    local = start("Three", "pumps.", END)
    answers = await asyncio.gather(*(local.ask() for _ in range(5)))
    assert {answer.text for answer in answers} == {"Three pumps."}


@installed
async def test_leaving_stops_the_generation(start: Start) -> None:
    local = start("on", "and", context=100_000)
    meter = Meter(0)
    async with aclosing(local.stream(meter=meter, max_tokens=90_000)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            if chunk.text:
                break
    # the next one is answered as soon as that one has stopped; 90,000 tokens would take minutes
    async with asyncio.timeout(20):
        answer = await local.ask(max_tokens=3)
    assert answer.text == "on and on"
    assert 0 < meter.usage().completion < 90_000


@installed
async def test_a_model_that_would_take_too_much_memory_is_refused(start: Start) -> None:
    local = start("Three", END, memory_reserve_mb=10**9)
    with pytest.raises(ProviderBusy) as refused:
        await local.ask()
    assert refused.value.details["reason"] == "memory"
    assert refused.value.details["reserve_mb"] == 10**9
    assert "MB" in refused.value.message


@installed
async def test_only_configured_models_are_loaded(start: Start, tmp_path: Path) -> None:
    local = start("Three", END)
    with pytest.raises(ProviderRejected, match="HUGGINGFACE_MODEL"):
        await local.ask(model="somebody/else")


def spoil(folder: Path, fault: str) -> None:
    match fault:
        case "empty":
            for file in folder.iterdir():
                file.unlink()
        case "pickled":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        case "no template":
            (folder / "chat_template.jinja").unlink()
        case "no config":
            (folder / "config.json").write_text("{}")


@installed
@pytest.mark.parametrize("fault", ["empty", "pickled", "no template", "no config", "refuses"])
async def test_what_cannot_be_used_is_a_typed_error(start: Start, fault: str) -> None:
    local = start("Three", END)
    spoil(Path(local.name), fault)
    with pytest.raises(ProviderRejected) as refused:
        await local.ask(HumanMessage("refuse" if fault == "refuses" else "hello"))
    assert refused.value.details["reason"] == ("request" if fault == "refuses" else "model")


@installed
async def test_a_model_that_is_too_slow_is_left(start: Start) -> None:
    local = start("Three", END, timeouts=Timeouts(first_token=0.001))
    with pytest.raises(ProviderUnavailable) as stalled:
        await local.ask()
    assert stalled.value.details["reason"] == "stalled"


def without_reserve(folder: Path) -> str:
    """The catalogue for a machine that has little memory left."""
    catalogue = yaml.safe_load(Path("config/providers.yaml").read_text())
    for entry in catalogue["providers"]:
        entry["memory_reserve_mb"] = 0
    file = folder / "providers.yaml"
    file.write_text(yaml.safe_dump(catalogue))
    return str(file)


@installed
async def test_it_answers_over_the_real_server(owner_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = make(tmp_path / "model", '{"n":', "3}", END, context=2_000)
    monkeypatch.setenv("HUGGINGFACE_MODEL", name)
    settings = settings_for(owner_dsn, tmp_path, CONSILIUM_PROVIDERS_FILE=without_reserve(tmp_path))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    asked = {"prompt": "how many", "provider": "huggingface", "mode": "json", "response_schema": schema}
    async with serve(settings) as server, server.http() as http:
        answer = await http.post("/internal/llm/generate", json={**asked, "timeout_ms": 120_000}, timeout=130)
        rows = {row["provider"]: row for row in (await http.get("/v1/providers")).json()["providers"]}
        usage = (await http.get("/v1/usage", params={"group_by": "model"})).json()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["parsed"] == {"n": 3}
    assert body["meta"]["provider"] == "huggingface"
    assert body["used_tokens"]["completion"] == 3
    assert rows["huggingface"]["usable"] is True
    assert rows["huggingface"]["models"][0]["price"] is None
    counted = {name: usage["totals"][name] for name in ("prompt", "completion")}
    assert counted == body["used_tokens"]
    assert usage["totals"]["exact"] is True


@pytest.fixture
def nowhere() -> Providers:
    return Providers(Catalogue(providers=(spec(),)), {}, analyse)


@installed
def test_without_a_model_it_says_what_to_set(nowhere: Providers) -> None:
    with pytest.raises(NoProvider, match="set HUGGINGFACE_MODEL"):
        nowhere.chat("huggingface")


@pytest.mark.skipif(INSTALLED, reason="is about a machine without the extra")
def test_without_the_extra_it_says_what_to_install() -> None:
    providers = Providers(Catalogue(providers=(spec(),)), {"HUGGINGFACE_MODEL": "some/model"}, analyse)
    assert providers.usable() == ()
    [row] = providers.matrix()
    assert row["reason"] == "install its package: pip install 'consilium[huggingface]'"
    with pytest.raises(NoProvider, match=r"consilium\[huggingface\]"):
        providers.chat("huggingface")
