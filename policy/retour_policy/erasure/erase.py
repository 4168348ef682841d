"""Erasure: forgets a person and still knows not to write to him."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, and_, bindparam, delete, func, or_, select, update

from retour_policy.core.erased import kept_of_erased, notes_of
from retour_policy.erasure.matcher import AddressMatcher
from retour_policy.erasure.redact import forget_mentions
from retour_policy.ledger.accounts import lock, refolded, write
from retour_policy.outbox.spool import Spool
from retour_policy.store import schema
from retour_policy.store.addresses import Address, find_number
from retour_policy.store.database import Store

_address, _fact, _send, _sent = schema.address, schema.fact, schema.send, schema.send_recipient
_outbox = schema.outbox
_KEEP = update(_fact).where(_fact.c.id == bindparam("fact")).values(detail=bindparam("kept"))


def erase_everywhere(store_: Store, spool: Spool, key: bytes, text: str) -> Iterator[int]:
    """Forget an address, `text`, wherever it stands; yields how many rows each transaction changed.

    Can be run again at any time, and finds what an earlier run that was stopped has left. Raises `OSError`.
    """
    with store_.reading() as connection:
        number = find_number(connection, key)
        copies = _copies(connection, number) if number is not None else []
    for name in copies:  # before the store forgets their names
        spool.remove(name)
    if number is not None:
        with store_.writing() as connection:
            changed = erase(connection, Address(number, key))
        yield changed
    yield from forget_mentions(store_, AddressMatcher(text))
    store_.overwrite_log()


def erase(connection: Connection, address: Address) -> int:
    """Forget the text of an address, and what its facts and sends say of a person; how many rows changed.

    Kept are the address's key (a hash), what was counted, and its suppressions.
    """
    before = lock(connection, address)
    connection.execute(update(_address).where(_address.c.id == address.id).values(text=None))
    _waiting(connection, address.id)
    changed, noted = _facts(connection, address.id)
    if noted:
        write(connection, address, before, refolded(connection, address)[0])
    return 1 + changed + _sends(connection, address.id)


def _facts(connection: Connection, number: int) -> tuple[int, bool]:
    """How many the address has, and whether the note of a suppression was made of what goes: seldom of a report."""
    rows = connection.execute(select(_fact.c.id, _fact.c.detail).where(_fact.c.address_id == number)).all()
    kept = [(fact, detail, kept_of_erased(detail)) for fact, detail in rows]
    changed = [{"fact": fact, "kept": left} for fact, detail, left in kept if left != detail]
    if changed:
        connection.execute(_KEEP, changed)
    return len(rows), any(notes_of(detail) != notes_of(left) for _, detail, left in kept)


def _waiting(connection: Connection, number: int) -> None:
    """Raw reports, and what waits to be told or forwarded. One statement for each index: with OR all would be read."""
    own = select(_fact.c.id).where(_fact.c.address_id == number)
    connection.execute(delete(schema.unread).where(schema.unread.c.fact_id.in_(own)))
    connection.execute(delete(_outbox).where(_outbox.c.fact_id.in_(own), _outbox.c.fact_id.is_not(None)))
    connection.execute(delete(_outbox).where(_outbox.c.ordering == number, _outbox.c.ordering.is_not(None)))


def _sends(connection: Connection, number: int) -> int:
    """Header values of messages that went to this address alone, and all copies that it may stand in."""
    theirs = select(_sent.c.send_id).where(_sent.c.address_id == number)
    alone = select(_sent.c.send_id).where(_sent.c.send_id.in_(theirs)).group_by(_sent.c.send_id)
    alone = alone.having(func.count() == 1)
    connection.execute(update(_send).where(_send.c.id.in_(theirs)).values(spool=None))
    gone = {"message_id": None, "tag": None, "queue_id": None, "spool": None}
    own, again = _send.c.id.in_(alone), and_(_send.c.resend_of.in_(alone), _send.c.resend_of.is_not(None))
    return sum(connection.execute(update(_send).where(these).values(gone)).rowcount for these in (own, again))


def _copies(connection: Connection, number: int) -> list[str]:
    theirs = select(_sent.c.send_id).where(_sent.c.address_id == number)
    here = or_(_send.c.id.in_(theirs), _send.c.resend_of.in_(theirs))
    return sorted(set(connection.scalars(select(_send.c.spool).where(here, _send.c.spool.is_not(None)))))
