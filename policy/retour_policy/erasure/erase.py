"""Erase: erases a person from the store and keeps the suppression of their address."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from retour_policy.core.erased import kept_of_erased, notes_of
from retour_policy.erasure.matcher import AddressMatcher
from retour_policy.erasure.redact import redact_mentions
from retour_policy.ledger.accounts import lock, refolded, write
from retour_policy.outbox.spool import Spool
from retour_policy.store import personal_data
from retour_policy.store.addresses import Address, find_number
from retour_policy.store.database import Store


def erase_everywhere(store: Store, spool: Spool, key: bytes, text: str) -> Iterator[int]:
    """Erase an address, `text`, wherever it is stored; yields how many rows each transaction changed.

    Can be run again at any time, and completes an earlier run that was stopped. Raises `OSError`.
    """
    with store.reading() as connection:
        number = find_number(connection, key)
        copies = personal_data.read_copies(connection, number) if number is not None else []
    for name in copies:  # before their names are erased from the store
        spool.remove(name)
    if number is not None:
        with store.writing() as connection:
            changed = erase(connection, Address(number, key))
        yield changed
    yield from redact_mentions(store, AddressMatcher(text))
    store.overwrite_log()


def erase(connection: Connection, address: Address) -> int:
    """Erase the text of an address, and what its facts and sends say about a person; how many rows changed.

    Kept are the address's key (a hash), what was counted, and its suppressions.
    """
    before = lock(connection, address)
    personal_data.erase_text(connection, address.id)
    personal_data.delete_waiting(connection, address.id)
    personal_data.erase_named(connection, address.id, address.key)
    changed, had_note = _erase_from_facts(connection, address.id)
    if had_note:
        write(connection, address, before, refolded(connection, address)[0])
    return 1 + changed + personal_data.erase_from_sends(connection, address.id)


def _erase_from_facts(connection: Connection, number: int) -> tuple[int, bool]:
    """How many facts the address has, and whether the note of a suppression came from erased details."""
    rows = personal_data.read_details(connection, number)
    kept = [(fact, detail, kept_of_erased(detail)) for fact, detail in rows]
    personal_data.write_details(connection, {fact: left for fact, detail, left in kept if left != detail})
    return len(rows), any(notes_of(detail) != notes_of(left) for _, detail, left in kept)
