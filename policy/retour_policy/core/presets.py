"""Presets: the two sets of numbers of a policy that have a name. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from retour_policy.clock import DAY
from retour_policy.core.decide import RuleSet

Preset = Literal["careful", "plain"]


CAREFUL = RuleSet(
    hard=2,
    pause=3 * DAY,
    hard_for=30 * DAY,
    soft=5,
    soft_span=10 * DAY,
    soft_for=30 * DAY,
    network=5,
    network_span=30 * DAY,
    network_for=30 * DAY,
    longest=365 * DAY,
    trials=4,
    spare_for=90 * DAY,
    autoreply=0,
    autoreply_for=30 * DAY,
    complaint=1,
    unsubscribe=1,
    heal_sends=1,
    heal_after=7 * DAY,
    forget_after=400 * DAY,
    heed_blame=True,
    distinct_days=True,
    count_unsigned=False,
    scope="everywhere",
)
"""What a postmaster who looked at each case would decide."""

PLAIN = replace(
    CAREFUL,
    hard=3,
    pause=0,
    hard_for=180 * DAY,
    soft=5,
    soft_span=0,
    soft_for=180 * DAY,
    network=0,
    autoreply=10,
    autoreply_for=180 * DAY,
    longest=0,
    trials=0,
    spare_for=0,
    heal_sends=0,
    forget_after=0,
    heed_blame=False,
    distinct_days=False,
)
"""Plain counting: every failure counts, no matter who is to blame, and nothing clears the count."""

PRESETS: dict[Preset, RuleSet] = {"careful": CAREFUL, "plain": PLAIN}
