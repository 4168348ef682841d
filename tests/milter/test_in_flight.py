"""Which messages the milter waits for before its process ends."""

import threading

from lab.wait import PATIENCE
from retour_milter import in_flight as module
from retour_milter.in_flight import InFlight


def drained(in_flight):
    """A thread that drains, and what it finds."""
    found = []
    thread = threading.Thread(target=lambda: found.append(in_flight.drain(600_000)), daemon=True)
    thread.start()
    return thread, found


def test_an_answer_has_time_to_be_sent(monkeypatch):
    """libmilter sends it after the callback: a process that ended at once would leave the client with a 451
    for a message that is recorded.
    """
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_MS", 60_000)
    in_flight = InFlight()
    assert in_flight.enter()
    in_flight.answered()
    thread, found = drained(in_flight)
    thread.join(0.2)
    assert thread.is_alive()
    in_flight.leave(answered=True)
    thread.join(PATIENCE)
    assert found == [True]


def test_an_idle_connection_is_not_waited_for(monkeypatch):
    """Postfix keeps one open as long as its client does; the answer to its last message was sent long ago."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_MS", 1)
    in_flight = InFlight()
    assert in_flight.enter()
    in_flight.answered()
    assert in_flight.drain(60_000)


def test_a_message_under_way_is_waited_for_and_none_begins():
    """Until its client is gone, at most as long as the configuration says."""
    in_flight = InFlight()
    assert in_flight.enter()
    with in_flight.step():
        assert not in_flight.drain(1)
    assert not in_flight.enter()
    in_flight.leave(answered=False)
    assert in_flight.drain(1)


def test_a_client_that_is_silent_within_a_message_is_waited_for_only_shortly(monkeypatch):
    """It may have gone for a coffee, and meanwhile nobody's mail is accepted."""
    monkeypatch.setattr(module, "IDLE_TIMEOUT_MS", 1)
    in_flight = InFlight()
    assert in_flight.enter()
    thread, found = drained(in_flight)
    thread.join(PATIENCE)
    assert found == [False]


def test_a_step_that_is_being_answered_is_waited_for(monkeypatch):
    """Its client is silent because it waits for the store to commit."""
    monkeypatch.setattr(module, "IDLE_TIMEOUT_MS", 1)
    in_flight = InFlight()
    assert in_flight.enter()
    with in_flight.step():
        thread, found = drained(in_flight)
        thread.join(0.2)
        assert thread.is_alive()
        in_flight.answered()
    in_flight.leave(answered=True)
    thread.join(PATIENCE)
    assert found == [True]
