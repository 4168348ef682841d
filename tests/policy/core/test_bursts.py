"""Bursts that blame the sender: nobody is counted, and the postmaster is told."""

import json

import pytest
from sqlalchemy import select

from lab.mailings import Mailings, side
from lab.world import World
from retour_policy.store import schema, storms

HOOK = {"name": "all", "on": ["burst.sender", "storm"], "webhook": "https://app.example.com", "secret_file": "/s"}


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, {"stream": [{"name": "news"}], "hook": [HOOK]}) as world:
        yield world


def told(world):
    with world.store.reading() as connection:
        return [json.loads(body) for body in connection.scalars(select(schema.outbox.c.body).order_by("id"))]


def test_a_burst_that_blames_the_sender_is_told_once_and_stops_nobody(world):
    """On a blocklist: an event with the side and the figures, no storm, nobody stopped; told again if it goes on."""
    mailings = Mailings(world, side("big", 60), lambda to, day: "blocked")
    mailings.run(1)
    (event,) = told(world)
    assert (event["type"], event["data"]["stream"], event["data"]["side"]) == ("burst.sender", "news", "big.example")
    assert (event["data"]["sent"], event["data"]["failed"], event["data"]["reason"]) == (60, 20, "blocked")
    assert world.suppressed() == {} and world.storm_list() == []
    mailings.run(2)
    assert len(told(world)) == 3


def test_a_few_that_blame_the_sender_are_no_burst(world):
    """Nineteen of sixty, and four of four."""
    for people, refused in ((side("big", 60), 19), (side("small", 4), 4)):
        Mailings(world, people, lambda to, day, those=set(people[:refused]): "blocked" if to in those else None).mail()
    assert told(world) == []


def test_what_blames_the_sender_is_counted_on_the_stream(world):
    """Beside what was sent and what failed for other causes, over all sides, each once."""
    people = side("one", 5) + side("two", 5)
    fates = {people[0]: "blocked", people[5]: "blocked", people[1]: "gone", people[6]: "full"}
    Mailings(world, people, lambda to, day: fates.get(to)).mail()
    with world.store.reading() as connection:
        figures = storms.read_stream_figures(connection, world.now - 3_600_000)
    assert {name: (one.sent, one.failures, one.refused) for name, one in figures.items()} == {"news": (10, 2, 2)}
