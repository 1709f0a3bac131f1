"""What is reserved for an answer is learned from the latest ones, and stays within its bounds whatever they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providers.estimate import ENOUGH, KEYS, LEAST, REMEMBERED, OutputEstimates
from storage.quota import Completion

COUNTS = st.lists(st.integers(0, 200_000), max_size=120)
CALL = ("main", "openai", "gpt-4o")


def learned(counts: list[int]) -> OutputEstimates:
    estimates = OutputEstimates()
    for count in counts:
        estimates.observe(*CALL, count)
    return estimates


@given(counts=COUNTS, default=st.integers(1, 100_000), ceiling=st.none() | st.integers(1, 100_000))
def test_within_its_bounds(counts: list[int], default: int, ceiling: int | None) -> None:
    expected = learned(counts).expect(*CALL, default=default, ceiling=ceiling)
    assert expected >= 1
    assert ceiling is None or expected <= ceiling
    if len(counts) < ENOUGH:
        assert expected == (default if ceiling is None else min(default, ceiling))
    elif ceiling is None:
        assert LEAST <= expected <= max(LEAST, 1.25 * max(counts[-REMEMBERED:]) + 1)


@given(counts=st.lists(st.integers(0, 200_000), min_size=ENOUGH, max_size=REMEMBERED))
def test_nearly_all_of_the_latest_would_have_fitted(counts: list[int]) -> None:
    expected = learned(counts).expect(*CALL, default=1, ceiling=None)
    assert sum(count <= expected for count in counts) >= 0.95 * len(counts)


@given(before=COUNTS, long=st.integers(1, 100_000))
def test_what_is_long_gone_does_not_count(before: list[int], long: int) -> None:
    assert learned([*before, *[long] * REMEMBERED]).expect(*CALL, default=1, ceiling=None) == learned(
        [long] * REMEMBERED
    ).expect(*CALL, default=1, ceiling=None)


def test_agents_and_models_are_learned_apart() -> None:
    estimates = learned([2000] * 10)
    for other in (("legal_agent", *CALL[1:]), ("main", "openrouter", CALL[2]), ("main", "openai", "gpt-4o-mini")):
        assert estimates.expect(*other, default=700, ceiling=None) == 700


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    estimates = learned([2000] * 10)
    for n in range(2 * KEYS):
        estimates.observe("main", "openai", f"model-{n}", 10)
        assert estimates.expect(*CALL, default=1, ceiling=None) == 2500
    assert len(estimates._seen) == KEYS


def test_an_earlier_process_is_a_start_and_no_more() -> None:
    estimates = learned([1000] * (REMEMBERED - 10))
    estimates.seed([Completion(*CALL, 9_000)] * REMEMBERED + [Completion("legal_agent", *CALL[1:], 100)] * ENOUGH)
    assert estimates.expect("legal_agent", *CALL[1:], default=1, ceiling=None) == 125
    assert estimates.expect(*CALL, default=1, ceiling=None) == 11_250
    for _ in range(10):
        estimates.observe(*CALL, 1000)
    assert estimates.expect(*CALL, default=1, ceiling=None) == 1250
