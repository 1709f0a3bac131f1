"""Who may summarise, and what a summary by quotation keeps."""

from __future__ import annotations

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from domain.catalogue import Catalogue
from nodes.fitted import counter
from nodes.state import Summary
from nodes.summary import cheap, extract, shorten
from providers.route import Candidate, Route

COUNT = counter("some-model")


def catalogue() -> Catalogue:
    def model(name: str, price: int | None) -> dict[str, object]:
        return {"name": name, "price": price and {"prompt_micro_usd": price, "completion_micro_usd": price}}

    cloud = {"family": "openai_compatible", "location": "cloud", "base_url": "https://a.example", "api_key_env": "KEY"}
    local = {"family": "ollama", "location": "local", "base_url_env": "AT", "api_key_required": False}
    return Catalogue.model_validate(
        {
            "providers": [
                {"name": "cloud", **cloud, "default_model": "good", "models": [
                    model("good", 20), model("small", 5), model("tiny", 2), model("best", 90), model("free", None)
                ]},
                {"name": "other", **cloud, "default_model": "unpriced", "models": [model("cheap", 1)]},
                {"name": "local", **local, "default_model": "eight", "models": [model("eight", 3), model("one", 1)]},
                {"name": "extractive", "family": "extractive", "location": "embedded", "api_key_required": False,
                 "default_model": "extractive"},
            ]
        }
    )  # fmt: skip


def candidate(provider: str, model: str, price: int | None = None) -> Candidate:
    return Candidate(provider, model, "default_order", "cloud", price, price)


def named(route: Route) -> list[str]:
    return [f"{one.provider}/{one.model}" for one in cheap(route, catalogue()).candidates]


def test_the_cheapest_model_of_each_provider_is_asked_then_the_one_of_the_route() -> None:
    route = Route((candidate("cloud", "good", 20), candidate("extractive", "extractive", 0)), ())
    assert named(route) == ["cloud/tiny", "cloud/good"]


def test_what_is_unpriced_or_local_stays_as_it_is() -> None:
    route = Route((candidate("other", "unpriced"), candidate("local", "eight", 3)), ())
    assert named(route) == ["other/unpriced", "local/eight"]


def test_nobody_is_left_where_all_can_only_quote() -> None:
    assert named(Route((candidate("extractive", "extractive", 0),), ())) == []


def conversation(turns: int) -> list[BaseMessage]:
    return [
        message
        for n in range(turns)
        for message in (
            HumanMessage(f"Our warehouse {n} is at pier {n}. {'More about it. ' * 30}"),
            AIMessage(f"Noted, pier {n}."),
        )
    ]


def test_quotations_keep_the_beginnings_word_for_word() -> None:
    text = extract(None, conversation(2), 1_000, COUNT)
    first, second = text.splitlines()
    assert first.startswith("- Our warehouse 0 is at pier 0. More about it.")
    assert first.endswith("… → Noted, pier 0.")
    assert "pier 1" in second


def test_quotations_get_shorter_before_any_is_lost() -> None:
    for turns, tokens in ((20, 700), (40, 1_400)):
        text = extract(None, conversation(turns), tokens, COUNT)
        assert COUNT(text) <= tokens
        assert len(text.splitlines()) == turns
        assert "- Our warehouse 0 is at pier 0." in text


def test_what_is_too_much_loses_the_oldest() -> None:
    text = extract(None, conversation(200), 500, COUNT)
    assert COUNT(text) <= 500
    assert "pier 199." in text
    assert "pier 3." not in text


def test_quotations_grow_with_the_conversation() -> None:
    said = conversation(6)
    first = extract(None, said[:6], 1_000, COUNT)
    before: Summary = {"text": first, "messages": 6, "until": "x", "by": "extract"}
    assert extract(before, said[6:], 1_000, COUNT) == extract(None, said, 1_000, COUNT)


def test_what_a_model_wrote_is_kept_whole_beside_quotations() -> None:
    written = "- " + "A fact a model found worth keeping. " * 12
    before: Summary = {"text": written, "messages": 6, "until": "x", "by": "model"}
    text = extract(before, conversation(4), 300, COUNT)
    assert text.startswith(written)
    assert "pier 3." in text


def test_a_summary_that_is_too_long_ends_with_a_sentence() -> None:
    text = shorten("One fact is this. " * 200, 100, COUNT)
    assert COUNT(text) <= 100
    assert text.endswith("One fact is this.")
    assert shorten("short", 100, COUNT) == "short"
    assert COUNT(shorten("x" * 5_000, 50, COUNT)) <= 50
