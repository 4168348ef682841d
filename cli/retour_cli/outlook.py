"""Outlook: what the next bounce of an address would lead to in each stream, with storms and trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sqlalchemy import Connection

from retour_cli.context import Context
from retour_cli.output import counted
from retour_cli.render.policy import span_words
from retour_policy.clock import time_text
from retour_policy.config.model import StormSection
from retour_policy.core.decide import Class
from retour_policy.core.fold import Account
from retour_policy.core.forecast import NextSend, classes_that_count, failure_now, forecast, none_before, run_out_for
from retour_policy.core.storm import ALL_SIDES
from retour_policy.core.suppression import Suppression
from retour_policy.ledger.history import good_sends
from retour_policy.ledger.storms import Storms
from retour_policy.store import storms
from retour_policy.store.addresses import Address
from retour_policy.store.storms import Latest, Storm


@dataclass(frozen=True)
class Outlook:
    """Of one address, by its account."""

    connection: Connection
    context: Context
    address: Address
    text: str | None
    """None: erased."""
    account: Account
    suppressed: Sequence[Suppression]
    """What is in force now."""
    now: int

    def by_stream(self) -> dict[str, str]:
        """A text for each stream of the configuration; under "" where it has none."""
        return {name: self._of(name) for name in self._streams}

    @cached_property
    def run_out(self) -> list[Suppression]:
        """The suppressions that have run out, so that the next message tries."""
        found = {one.scope: one for name in self._streams for one in run_out_for(self.account, self._send(name))}
        return [one for scope, one in sorted(found.items())]

    @property
    def _streams(self) -> Iterable[str]:
        return [stream.name for stream in self.context.config.stream] or [""]

    def _send(self, stream: str) -> NextSend:
        return NextSend(stream, self.context.policy.for_stream(stream), self.now)

    def _of(self, name: str) -> str:
        send, stream = self._send(name), self.context.config.stream_named(name)
        transactional = send.stream_policy.transactional
        stopped = [one for one in self.suppressed if one.applies(name, transactional=transactional)]
        if stopped:
            return none_before(stopped)
        if stream and not stream.track:
            return "is not recorded (track = false)"
        rules = send.stream_policy.rules
        good = good_sends(self.connection, self.address.id, self.account, name, self.now, rules)
        send = replace(send, good=good)
        return forecast(self.account, replace(send, instead=self._by_storms(send))).words()

    def _by_storms(self, send: NextSend) -> Mapping[Class, str]:
        """What becomes of failures that a storm would hold, or that count with those that storms hold."""
        number = self._open_storm(send.stream)
        if not send.stream_policy.rules.heed_blame or (number is None and not self.account.state.held):
            return {}
        found: dict[Class, str] = {}
        for name in classes_that_count(send.stream_policy):
            entry = failure_now(self.account, send, name)
            told = (self.connection, self.account, self.address, entry, send.stream_policy)
            settled = Storms.of(self.context.config).settled(*told)
            if settled:
                found[name] = f"counts, and {counted(len(settled), 'held failure')} with it"
            elif settled is None and number is not None:
                found[name] = f"is held by storm {number}"
        return found

    def _open_storm(self, stream: str) -> int | None:
        if self.text is None:
            return storms.find_open_anywhere(self.connection, stream)
        side = Storms.of(self.context.config).sides.of(self.text)
        own, everywhere = (stream, side), (stream, ALL_SIDES)
        latest = storms.read_latest(self.connection, [own, everywhere], self.now)
        return latest.get(own, Latest()).open or latest.get(everywhere, Latest()).open


def held_words(storm: Storm | None, number: int, failures: int) -> str:
    """How many failures a storm holds, and where it was, or still is."""
    held = f"{counted(failures, 'failure')} by storm {number}"
    if storm is None:
        return held
    side = "all sides" if storm.side == ALL_SIDES else storm.side
    since = f"{time_text(storm.opened)[:16]} to {time_text(storm.closed)[:16]}" if storm.closed else "still open"
    return f"{held} ({storm.stream} to {side}, {since})"


def freed_words(limits: StormSection) -> str:
    """What makes held failures count, or clears them."""
    over, soft_over = span_words(limits.repeats_over), span_words(limits.soft_repeats_over)
    return (
        f"these count when the address fails on {limits.repeats} days over at least {over} (soft, network: "
        f"{soft_over}) with no good send between; a good send clears them"
    )
