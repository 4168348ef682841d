"""A world with the careful policy and three streams, and numbers by which the story of each rule is a long one."""

import pytest

from lab.world import World

STREAMS = [{"name": "news"}, {"name": "promo"}, {"name": "invoices", "transactional": True}]


LONG = {"hard_for": "180d", "network": 10, "heal_sends": 3, "trials": 0, "spare_for": "0s"}
"""Numbers that differ from the defaults, which test_stories has, and test_model."""


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, {"stream": STREAMS, "policy": LONG}) as world:
        yield world


@pytest.fixture
def plain(tmp_path):
    with World(tmp_path, {"stream": STREAMS, "policy": {"preset": "plain"}}) as world:
        yield world
