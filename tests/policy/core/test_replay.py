"""The replay of an outage, small: what `make replay` shows at full size."""

import pytest

import replay
from retour_policy.clock import MINUTE


@pytest.fixture(scope="module")
def results():
    """Both presets over the same weeks; more of the provider's mail, so that a small list has a storm too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "WEIGHT", 60)
        patch.setattr(replay, "DEAD_BEFORE", 0.03)
        patch.setattr(replay, "STEP", 15 * MINUTE)
        return {preset: replay.replay(preset, 0.03, 3) for preset in ("careful", "plain")}


def test_the_careful_policy_harms_nobody_and_finds_the_dead(results):
    """Those who died before and during it; both evenings are storms."""
    careful = results["careful"]
    assert (careful.healthy_harmed, careful.dead_found) == (0, careful.dead)
    assert careful.dead > 20 and careful.outage_failures > 50 and careful.storms >= 2


def test_plain_counting_shows_the_damage(results):
    """People with living mailboxes are suppressed, and some of the dead are not."""
    plain = results["plain"]
    assert plain.healthy_harmed > 3 and plain.storms == 0 and plain.dead_found < plain.dead


@pytest.mark.parametrize(
    ("careful", "plain", "promised"),
    [((0, 0, 9, 9, 2), 5, True), ((1, 0, 9, 9, 2), 5, False), ((0, 1, 9, 9, 2), 5, False), ((0, 0, 9, 8, 2), 5, False),
     ((0, 0, 9, 9, 0), 5, False), ((0, 0, 9, 9, 2), 0, False)],
)  # fmt: skip
def test_the_replay_fails_where_the_promise_does(careful, plain, promised):
    """Somebody harmed, somebody dead missed, no storm at all, or plain counting as good."""
    made = replay.Result(100, 50, *careful)
    assert replay.is_as_promised(made, replay.Result(100, 50, 0, plain, 9, 9, 0)) is promised
