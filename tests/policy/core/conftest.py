"""A world with the careful policy and three streams."""

import pytest

from lab.world import World

STREAMS = [{"name": "news"}, {"name": "promo"}, {"name": "invoices", "transactional": True}]


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, {"stream": STREAMS}) as world:
        yield world


@pytest.fixture
def plain(tmp_path):
    with World(tmp_path, {"stream": STREAMS, "policy": {"preset": "plain"}}) as world:
        yield world
