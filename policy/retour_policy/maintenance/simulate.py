"""Simulate: what another policy would have decided from the same facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from retour_policy.config.model import Config
from retour_policy.core.fold import Account
from retour_policy.core.suppression import Suppression, strongest
from retour_policy.ledger.accounts import refolded_of
from retour_policy.ledger.policy_versions import Policy
from retour_policy.maintenance.rebuild import stored
from retour_policy.store import addresses
from retour_policy.store.database import Store


@dataclass(frozen=True, slots=True)
class Change:
    """One address in one stream for which the other policy decides otherwise."""

    address: str | None
    stream: str
    before: Suppression | None
    after: Suppression | None

    @property
    def what(self) -> str:
        """paused, suppressed, or freed."""
        if self.after is None:
            return "freed"
        return "paused" if self.after.cause == "pause" else "suppressed"


def changes(store: Store, config: Config, now: int) -> Iterator[Change]:
    """What would be different at `now` if `config` had been in force from the first fact on. Changes nothing."""
    judge = Policy.of(config)
    streams = {stream.name: stream.transactional for stream in config.stream}
    for chunk in addresses.iterate(store):
        with store.reading() as connection:
            before = stored(connection, [address for address, _ in chunk])
            after = refolded_of(connection, [address.id for address, _ in chunk], {}, judge)
        for address, text in chunk:
            yield from _changes(text, before[address.id], after[address.id][0], streams, now)


def _changes(
    text: str | None, before: Account, after: Account, streams: Mapping[str, bool], now: int
) -> Iterator[Change]:
    for name, transactional in streams.items():
        was, becomes = (_in_force(account, name, transactional, now) for account in (before, after))
        if (was is None) != (becomes is None) or (
            was and becomes and (was.cause == "pause") != (becomes.cause == "pause")
        ):
            yield Change(text, name, was, becomes)


def _in_force(account: Account, stream: str, transactional: bool, now: int) -> Suppression | None:
    found = account.suppressions.values()
    return strongest((one for one in found if one.applies(stream, transactional=transactional)), now)
