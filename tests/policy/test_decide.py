"""Deciding: counts rise by one a send, suppress at exactly the threshold, and do not depend on order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_policy.clock import DAY
from retour_policy.config import PolicySection
from retour_policy.decide import CLASSES, Class, Decision, Happening, State, decide

NOW = 1_800_000_000_000
RULES = PolicySection()


def happening(class_: Class = "hard", send: int = 1, *, shared: bool = False, first: bool = True) -> Happening:
    return Happening(NOW + send, class_, send, shared, first)


def fold(happenings: list[Happening], rules: PolicySection = RULES) -> tuple[State, list[Decision]]:
    state, decisions = State(), []
    for one in happenings:
        decisions.append(decide(state, one, rules))
        state = decisions[-1].state
    return state, decisions


@pytest.mark.parametrize(("class_", "threshold"), [("hard", 3), ("soft", 5), ("autoreply", 10)])
def test_the_threshold_suppresses_and_one_less_does_not(class_: Class, threshold: int) -> None:
    """The third hard bounce, the fifth soft one, the tenth auto-reply; dates begin with the one that tips the scale."""
    state, decisions = fold([happening(class_, n) for n in range(1, threshold + 1)])
    assert [decision.suppress for decision in decisions[:-1]] == [None] * (threshold - 1)
    last = decisions[-1].suppress
    assert last and (last.cause, last.count, last.since) == (class_, threshold, NOW + threshold)
    assert last.until == last.since + 180 * DAY
    assert state == State(**{class_: threshold})


@pytest.mark.parametrize("class_", CLASSES)
def test_zero_records_and_never_suppresses(class_: Class) -> None:
    """A threshold of 0 counts on and on."""
    state, decisions = fold([happening(class_, n) for n in range(50)], PolicySection(**{class_: 0}))
    assert getattr(state, class_) == 50 and not any(decision.suppress for decision in decisions)
    assert "recorded only" in decisions[-1].why


@pytest.mark.parametrize("class_", CLASSES)
def test_one_suppresses_at_the_first(class_: Class) -> None:
    """A threshold of 1 needs one."""
    _, decisions = fold([happening(class_)], PolicySection(**{class_: 1}))
    assert decisions[0].suppress


def test_for_good_has_no_end() -> None:
    """suppress_for = "0s" is for good."""
    _, decisions = fold([happening()], PolicySection.model_validate({"hard": 1, "suppress_for": "0s"}))
    assert decisions[0].suppress and decisions[0].suppress.until is None


def test_each_failure_above_the_threshold_suppresses_again() -> None:
    """When a suppression has run out, the next failure is enough."""
    _, decisions = fold([happening(send=n) for n in range(5)])
    assert [bool(decision.suppress) for decision in decisions] == [False, False, True, True, True]


def test_a_send_counts_once() -> None:
    """What is not the first of its send changes nothing."""
    state = State(hard=2)
    for class_ in CLASSES:
        for shared in (True, False):
            decision = decide(state, happening(class_, first=False, shared=shared), RULES)
            assert (decision.state, decision.suppress) == (state, None)


def test_classes_do_not_add_up() -> None:
    """Two hard bounces, four soft ones and nine auto-replies suppress nobody."""
    happenings = [happening(c, 100 * n + m) for n, (c, m_) in enumerate([("hard", 2), ("soft", 4), ("autoreply", 9)])
                  for m in range(m_)]  # fmt: skip
    state, decisions = fold(happenings)
    assert state == State(2, 4, 9) and not any(decision.suppress for decision in decisions)


def test_shared_proof_waits_for_another_send() -> None:
    """One shared failure counts for nothing, two of different sends for two."""
    state, decisions = fold([happening(send=7, shared=True)])
    assert (state.hard, state.unconfirmed, decisions[0].suppress) == (0, 7, None)
    assert "another send" in decisions[0].why
    assert fold([happening(send=7, shared=True), happening(send=8, shared=True)])[0] == State(hard=2)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_shared_proof_is_confirmed_by_a_failure_of_its_own_token(order: tuple[int, int]) -> None:
    """A failure that a token of one recipient proves is a failure of another send: both count, in either order."""
    both = [happening(send=7, shared=True), happening(send=8)]
    assert fold([both[n] for n in order])[0] == State(hard=2)


def test_an_auto_reply_confirms_no_failure() -> None:
    """Somebody on holiday has not failed."""
    state, _ = fold([happening(send=7, shared=True), happening("autoreply", 8), happening("autoreply", 9, shared=True)])
    assert (state.hard, state.autoreply, state.unconfirmed) == (0, 2, 7)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_failure_that_is_confirmed_can_tip_the_scale(order: tuple[int, int]) -> None:
    """With hard = 1 a hard and a soft shared failure suppress for the hard one, whichever came first."""
    both = [happening("hard", 7, shared=True), happening("soft", 8, shared=True)]
    state, decisions = fold([both[n] for n in order], PolicySection(hard=1))
    assert (state.hard, state.soft) == (1, 1)
    assert decisions[1].suppress and decisions[1].suppress.cause == "hard"


SENDS = st.lists(st.tuples(st.sampled_from(CLASSES), st.booleans()), min_size=1, max_size=12)


@given(SENDS, st.randoms(use_true_random=False))
def test_order_does_not_change_the_counts(sends: list[tuple[Class, bool]], chance: Any) -> None:
    """Facts of different sends come to the same counts in any order, and to what a plain sum says."""
    happenings = [happening(class_, n, shared=shared) for n, (class_, shared) in enumerate(sends, 1)]
    shuffled = chance.sample(happenings, len(happenings))
    rules = PolicySection(hard=2, soft=2, autoreply=2)
    one, decisions = fold(happenings, rules)
    other, decisions_of_other = fold(shuffled, rules)
    assert [getattr(one, c) for c in CLASSES] == [getattr(other, c) for c in CLASSES]
    failures = [one for one in happenings if one.class_ != "autoreply"]
    alone = len(failures) == 1 and failures[0].shared
    expected = {c: sum(h.class_ == c for h in happenings) for c in CLASSES}
    assert {c: getattr(one, c) for c in CLASSES} == (expected | {"hard": 0, "soft": 0} if alone else expected)
    causes = {d.suppress.cause for d in decisions if d.suppress}
    assert bool(causes) == any(d.suppress for d in decisions_of_other)
    assert bool(causes) == any(getattr(one, c) >= 2 for c in CLASSES)


@given(st.builds(State, *[st.integers(0, 9)] * 3, st.none() | st.integers(1, 9), st.none() | st.sampled_from(CLASSES)))
def test_a_state_survives_being_stored(state: State) -> None:
    """What is written is what is read; what another version wrote is left out; a new address takes no room."""
    assert State.from_dict(state.to_dict()) == state
    assert State.from_dict(state.to_dict() | {"storms": 3}) == state
    assert State().to_dict() == {}


def test_counters_stop() -> None:
    """A loop of reports cannot make a number grow for ever."""
    state = State(hard=1_000_000)
    assert decide(state, happening(), replace_rules(hard=0)).state == state


def replace_rules(**values: int) -> PolicySection:
    return PolicySection(**values)


def test_a_decision_tells_why() -> None:
    """Each has words that a postmaster understands."""
    assert decide(State(), happening(), RULES).why == "hard 1 of 3"
    assert decide(State(hard=2), happening(), RULES).why == "hard 3 of 3: suppressed"
    assert decide(State(), replace(happening(), first=False), RULES).why == "this send is counted already"
