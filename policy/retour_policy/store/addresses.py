"""Addresses: the table that gives each address its number, and can forget its text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from retour_policy.address import address_key
from retour_policy.sanitize import clean
from retour_policy.store import schema
from retour_policy.store.upsert import ignoring

LONGEST_TEXT = 320  # characters of an address that are kept to be shown
MOST_PARAMETERS = 500  # in one statement, well under what SQLite takes
_BY_KEYS = select(schema.address.c.key, schema.address.c.id).where(
    schema.address.c.key.in_(bindparam("keys", expanding=True))
)
# As the foreign keys of what is written about them do, only earlier: a purge on another host passes these by.
_KEEP_BY_KEYS = _BY_KEYS.with_for_update(read=True, key_share=True)


@dataclass(frozen=True, slots=True)
class Address:
    """An address as the store knows it."""

    id: int
    key: bytes


def find(connection: Connection, keys: Iterable[bytes], *, keep: bool = False) -> dict[bytes, int]:
    """The numbers of those addresses that the store knows; with `keep` none is purged before the transaction ends."""
    wanted = sorted(set(keys))
    found: dict[bytes, int] = {}
    query = _KEEP_BY_KEYS if keep else _BY_KEYS
    for start in range(0, len(wanted), MOST_PARAMETERS):
        rows = connection.execute(query, {"keys": wanted[start : start + MOST_PARAMETERS]})
        found.update((bytes(key), number) for key, number in rows)
    return found


def ensure(connection: Connection, secret: bytes, addresses: Iterable[str]) -> dict[str, int]:
    """The numbers of all of `addresses`; new ones get a row. One that was forgotten stays forgotten.

    The rows are there until the transaction ends.
    """
    keys = {address: address_key(secret, address) for address in addresses}
    if not keys:
        return {}
    found = find(connection, keys.values(), keep=True)
    while missing := {key: address for address, key in keys.items() if key not in found}:
        rows = [{"key": key, "text": clean(missing[key], LONGEST_TEXT)} for key in sorted(missing)]
        connection.execute(ignoring(connection, schema.address), rows)
        found |= find(connection, missing, keep=True)  # not that of another host which was purged at once
    return {address: found[key] for address, key in keys.items()}


def forgotten(connection: Connection, numbers: Iterable[int]) -> set[int]:
    """Those of the addresses whose text was erased."""
    here = schema.address.c.id.in_(list(numbers))
    return set(connection.scalars(select(schema.address.c.id).where(here, schema.address.c.text.is_(None))))


def is_forgotten(connection: Connection, number: int) -> bool:
    """Whether the text of the address with that number was erased."""
    return connection.scalar(select(schema.address.c.text).where(schema.address.c.id == number)) is None


def find_key(connection: Connection, number: int) -> bytes:
    """The key of the address with that number; empty where there is none."""
    return bytes(connection.scalar(select(schema.address.c.key).where(schema.address.c.id == number)) or b"")


def find_with_text(connection: Connection, number: int) -> tuple[Address, str | None]:
    """The address with that number, which must exist, and its text; None: it was erased."""
    row = connection.execute(select(schema.address).where(schema.address.c.id == number)).one()
    return Address(number, bytes(row.key)), row.text


def find_text(connection: Connection, number: int) -> str | None:
    """The address with that number, as it was first written to; None once it was erased."""
    return connection.scalar(select(schema.address.c.text).where(schema.address.c.id == number))
