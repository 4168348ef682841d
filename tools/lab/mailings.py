"""Mailings: whole mailings on a real store, one transaction each, and who is stopped after weeks of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.reports import failed
from lab.world import LIKE, SECRET, World
from retour_bounces import Report
from retour_policy.address import address_key
from retour_policy.clock import DAY, MINUTE
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store.sends import NewSend
from retour_policy.store.suppressions import find_in_force

Fate = Callable[[str, int], str | None]
"""How mail to an address fails on a day (counted from 0), as `World.bounce` names it; None: it arrives."""


class Mailings:
    """One stream to the same people, again and again."""

    def __init__(self, world: World, people: Sequence[str], fate: Fate) -> None:
        self.world = world
        self.people = people
        self.fate = fate
        self.begins = world.now
        self.sent = 0
        self.failed = 0

    def run(self, times: int, every: int = 1) -> None:
        """So many mailings, one every so many days; storms are looked after until the next one."""
        for _ in range(times):
            self.mail()
            for _ in range(every * 4):
                self.world.wait("6h")
                self.world.tick()

    def mail(self, stream: str = "news") -> None:
        """One mailing: all is sent, then what fails comes back, then what storms need is done."""
        world, made = self.world, list[tuple[str, int]]()
        with world.store.writing() as connection:
            for to in self.people:
                key = address_key(SECRET, to)
                if not find_in_force(connection, key, stream, world.now, transactional=False):
                    new = NewSend(stream, "app@example.com", (to,))
                    gone = world.outgoing.record(connection, new, {}, track=True, watch=True)
                    made += [] if gone.newly_suppressed else [(to, gone.send)]
            day = (world.now - self.begins) // DAY
            world.now += MINUTE
            for to, send in made:
                like = self.fate(to, day)
                if like:
                    self.failed += 1
                    world.recorder.record(connection, self._returned(to, send, like))
            world.now -= MINUTE  # mailings are whole days apart
        self.sent += len(made)
        world.tick()

    def _returned(self, to: str, send: int, like: str) -> ReturnedMessage:
        type_, status, reason, blame = LIKE[like]
        said = {"status": status, "reason": reason, "blame": blame, "diagnostic": ""}
        part = failed(to, type_, original_recipient=to, **said)
        fingerprint = (1_000_000 + self.failed).to_bytes(16, "big")
        return ReturnedMessage(
            self.world.now, Route("verp", None, send), "b-x@b", "", b"", fingerprint, Report("bounce", (part,))
        )

    def stopped(self) -> set[str]:
        """Who gets no mail now, be it for some days or for long."""
        return set(self.world.suppressed())


def side(name: str, number: int) -> list[str]:
    """So many people at one side."""
    return [f"u{n}@{name}.example" for n in range(number)]


def sides(number: int, each: int) -> list[str]:
    """People at many sides."""
    return [to for n in range(number) for to in side(f"side{n}", each)]
