"""Several hosts on one database: each report counts once, each threshold is crossed once, and no deadlock surfaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from lab import stores
from lab.cluster import Cluster
from lab.host import run_hosts
from lab.world import World
from retour_policy.maintenance.rebuild import differences
from retour_policy.store import schema

HOSTS = 8
HARD = 3
ADDRESSES = [f"person{n}@example.net" for n in range(6)]
SENDS = 5
CONFIG = {
    "stream": [{"name": "news"}],
    "policy": {"preset": "plain", "hard": HARD},
    "storm": {"least": 0},
    "hook": [{"name": "crm", "on": ["suppressed"], "command": ["/bin/true"]}],
}


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    """A store on PostgreSQL."""
    with stores.on(cluster), World(tmp_path, CONFIG) as world:
        yield world


def test_eight_hosts_write_about_the_same_addresses(world: World) -> None:
    """All are handed the same reports, in different orders and groups, and send to the same new addresses.

    Each report is recorded by one of them and each suppression is told once; `rebuild` finds no difference.
    """
    returned = [(world.send(to) or 0, to) for to in ADDRESSES for _ in range(SENDS)]
    new = [f"new{n}@example.org" for n in range(20)]
    outcomes = Counter(outcome for one in run_hosts(HOSTS, world.url, CONFIG, returned, new) for outcome in one)
    assert outcomes == {"recorded": len(returned), "duplicate": (HOSTS - 1) * len(returned)}
    assert {to: world.counts(to)["*"]["hard"] for to in ADDRESSES} == dict.fromkeys(ADDRESSES, SENDS)
    assert world.suppressed() == dict.fromkeys(ADDRESSES, "* hard")
    with world.store.reading() as connection:
        told = Counter(connection.scalars(select(schema.outbox.c.ordering)))
        sent = Counter(connection.scalars(select(schema.send_recipient.c.address_id)))
    assert len(told) == len(ADDRESSES) and set(told.values()) == {1}
    assert sorted(sent.values()) == [SENDS] * len(ADDRESSES) + [HOSTS] * len(new)
    assert list(differences(world.store)) == []
