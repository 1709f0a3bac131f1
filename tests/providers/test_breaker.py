"""The life of a circuit breaker, on a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.breaker import CLOSED, BreakerPolicy, BreakerState, abandoned, failed, probing, succeeded

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = BreakerPolicy(failures=5, open_seconds=10, longest_seconds=60, probe_seconds=120)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def opened(now: datetime = NOW, retry_after: float | None = None) -> BreakerState:
    state = CLOSED
    for _ in range(POLICY.failures):
        assert state.status == "closed"
        state = failed(state, now, POLICY, probe=None, retry_after=retry_after)
    return state


def test_five_failures_in_a_row_open_it() -> None:
    state = opened()
    assert (state.status, state.failures, state.retry_at) == ("open", 5, later(10))


def test_a_success_between_them_begins_the_count_anew() -> None:
    state = CLOSED
    for _ in range(4):
        state = failed(state, NOW, POLICY, probe=None)
    state = succeeded(state, probe=None)
    for _ in range(4):
        state = failed(state, NOW, POLICY, probe=None)
    assert state.status == "closed"


def test_the_provider_may_ask_for_a_longer_rest_than_ours() -> None:
    assert opened(retry_after=45).retry_at == later(45)
    assert opened(retry_after=2).retry_at == later(10)
    assert opened(retry_after=1e9).retry_at == later(POLICY.longest_rest_seconds), "but not for ever"


def test_before_its_time_nobody_probes_and_then_one_does() -> None:
    state = opened()
    assert probing(state, later(9.9), POLICY, probe="a") == state
    half = probing(state, later(10), POLICY, probe="a")
    assert (half.status, half.probe) == ("half_open", "a")
    assert probing(half, later(11), POLICY, probe="b") == half


def test_a_good_probe_closes_it() -> None:
    assert succeeded(probing(opened(), later(10), POLICY, probe="a"), probe="a") == CLOSED


def test_bad_probes_double_its_time_up_to_a_bound() -> None:
    state, now, times = opened(), NOW, []
    for _ in range(5):
        assert state.retry_at is not None
        now = state.retry_at
        state = failed(probing(state, now, POLICY, probe="a"), now, POLICY, probe="a")
        assert state.retry_at is not None
        times.append((state.retry_at - now).total_seconds())
    assert times == [20, 40, 60, 60, 60]


def test_what_older_calls_report_meanwhile_changes_nothing() -> None:
    state = opened()
    assert failed(state, later(1), POLICY, probe=None) == state
    assert succeeded(state, probe=None) == state
    half = probing(state, later(10), POLICY, probe="a")
    for other in (None, "b"):
        assert failed(half, later(11), POLICY, probe=other) == half
        assert succeeded(half, probe=other) == half
        assert abandoned(half, later(11), probe=other) == half


def test_an_abandoned_probe_makes_room_for_the_next_at_once() -> None:
    half = probing(opened(), later(10), POLICY, probe="a")
    again = probing(abandoned(half, later(12), probe="a"), later(12), POLICY, probe="b")
    assert (again.status, again.probe) == ("half_open", "b")


def test_a_probe_that_says_nothing_is_given_up() -> None:
    half = probing(opened(), later(10), POLICY, probe="a")
    assert probing(half, later(129), POLICY, probe="b").probe == "a"
    taken = probing(half, later(130), POLICY, probe="b")
    assert taken.probe == "b"
    assert succeeded(taken, probe="a") == taken, "who was given up has no say"


class Life(RuleBasedStateMachine):
    """Any order of events at any times: the states stay what they mean."""

    @initialize()
    def begin(self) -> None:
        self.state, self.now, self.probes = CLOSED, NOW, 0

    @rule(seconds=st.floats(0, 200))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(mine=st.booleans(), retry_after=st.none() | st.floats(0, 500))
    def a_call_fails(self, mine: bool, retry_after: float | None) -> None:
        before = self.state
        self.state = failed(
            self.state, self.now, POLICY, probe=self.state.probe if mine else None, retry_after=retry_after
        )
        if before.status == "closed":
            assert self.state.failures == before.failures + 1

    @rule(mine=st.booleans())
    def a_call_succeeds(self, mine: bool) -> None:
        self.state = succeeded(self.state, probe=self.state.probe if mine else None)

    @rule(mine=st.booleans())
    def a_call_is_left(self, mine: bool) -> None:
        self.state = abandoned(self.state, self.now, probe=self.state.probe if mine else None)

    @rule()
    def somebody_wants_to_probe(self) -> None:
        self.probes += 1
        before, name = self.state, f"probe-{self.probes}"
        self.state = probing(self.state, self.now, POLICY, probe=name)
        if self.state.probe == name:
            assert before.status != "closed"
            assert before.retry_at is not None
            assert before.retry_at <= self.now, "never before its time, never beside another's"

    @invariant()
    def states_mean_what_they_say(self) -> None:
        state = getattr(self, "state", CLOSED)
        assert (state.probe is not None) == (state.status == "half_open")
        assert (state.retry_at is None) == (state.status == "closed")
        if state.status == "closed":
            assert state.failures < POLICY.failures
        else:
            assert state.failures >= POLICY.failures
            assert state.open_seconds is not None
            assert POLICY.open_seconds <= state.open_seconds <= POLICY.longest_seconds


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


@given(waits=st.lists(st.floats(0, 1000), max_size=30))
@settings(derandomize=True)
def test_an_open_breaker_is_always_tried_again(waits: list[float]) -> None:
    """Whatever happens, within the longest time somebody may probe."""
    state, now = opened(), NOW
    for wait in waits:
        now += timedelta(seconds=wait)
        state = failed(probing(state, now, POLICY, probe="a"), now, POLICY, probe="a")
        assert state.retry_at is not None
        assert state.retry_at - now <= timedelta(seconds=POLICY.longest_seconds)
