"""Addresses: the table that gives each address its number; its text can be erased."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Subquery, bindparam, func, select, union

from retour_policy.address import address_key
from retour_policy.sanitize import clean
from retour_policy.store import schema
from retour_policy.store.database import Store
from retour_policy.store.upsert import ignoring

MAX_TEXT_CHARACTERS = 320  # of an address, kept to be shown
MAX_PARAMETERS = 500  # in one statement, well under SQLite's limit
MAX_ADDRESSES_READ = 500  # in one transaction
_table = schema.address
_BY_KEYS = select(_table.c.key, _table.c.id).where(_table.c.key.in_(bindparam("keys", expanding=True)))
_TEXT = select(_table.c.text).where(_table.c.id == bindparam("number"))
_TEXTS = select(_table.c.id, _table.c.text).where(_table.c.id.in_(bindparam("numbers", expanding=True)))
# The same lock as a foreign key takes, only earlier: a purge on another host then skips these rows.
_KEEP_BY_KEYS = _BY_KEYS.with_for_update(read=True, key_share=True)


@dataclass(frozen=True, slots=True)
class Address:
    """An address as the store knows it."""

    id: int
    key: bytes


def find_number(connection: Connection, key: bytes) -> int | None:
    """The number of the address with that key; None if it is not in the store."""
    return read_numbers(connection, [key]).get(key)


def read_numbers(connection: Connection, keys: Iterable[bytes], *, keep: bool = False) -> dict[bytes, int]:
    """The numbers of those addresses that the store knows; with `keep` none is purged before the transaction ends."""
    wanted = sorted(set(keys))
    found: dict[bytes, int] = {}
    query = _KEEP_BY_KEYS if keep else _BY_KEYS
    for start in range(0, len(wanted), MAX_PARAMETERS):
        rows = connection.execute(query, {"keys": wanted[start : start + MAX_PARAMETERS]})
        found.update((bytes(key), number) for key, number in rows)
    return found


def ensure(connection: Connection, secret: bytes, addresses: Iterable[str]) -> dict[str, int]:
    """The numbers of all of `addresses`; new ones get a row. One that was erased stays erased.

    The rows are there until the transaction ends.
    """
    keys = {address: address_key(secret, address) for address in addresses}
    if not keys:
        return {}
    found = read_numbers(connection, keys.values(), keep=True)
    while missing := {key: address for address, key in keys.items() if key not in found}:
        rows = [{"key": key, "text": clean(missing[key], MAX_TEXT_CHARACTERS)} for key in sorted(missing)]
        connection.execute(ignoring(connection, _table), rows)
        found |= read_numbers(connection, missing, keep=True)  # another host may have purged the row just now
    return {address: found[key] for address, key in keys.items()}


def read(connection: Connection, numbers: Sequence[int]) -> list[Address]:
    """Those of the addresses that are in the store, in no order."""
    rows = connection.execute(select(_table.c.id, _table.c.key).where(_table.c.id.in_(numbers)))
    return [Address(number, bytes(key)) for number, key in rows]


def read_ends(connection: Connection, limit: int) -> list[tuple[bytes, str]]:
    """Key and text of the oldest addresses that are not erased and of the latest, of each at most `limit`."""
    ends: dict[int, tuple[bytes, str]] = {}
    for order in (_table.c.id, _table.c.id.desc()):
        rows = connection.execute(select(_table).where(_table.c.text.is_not(None)).order_by(order).limit(limit))
        ends |= {row.id: (bytes(row.key), row.text) for row in rows}
    return list(ends.values())


def iterate_with_account(store: Store) -> Iterator[list[tuple[Address, str | None]]]:
    """All addresses about which anything is known, with their text (None: erased), in the order of their numbers.

    In chunks, each read in a transaction of its own. Those that mail only went to are passed over unread.
    """
    last = 0
    while True:
        query = select(_table).where(_table.c.id.in_(select(_with_account(last)))).order_by(_table.c.id)
        with store.reading() as connection:
            chunk = [(Address(row.id, bytes(row.key)), row.text) for row in connection.execute(query)]
        if not chunk:
            return
        yield chunk
        last = chunk[-1][0].id


def _with_account(last: int) -> Subquery:
    """The next numbers of addresses with a fact that counts, a state or a suppression."""
    nexts = []
    for column, *wanted in (
        (schema.fact.c.address_id, schema.fact.c.policy_id.is_not(None)),
        (schema.address_state.c.address_id,),
        (schema.suppression.c.address_id,),
    ):
        some = select(column).where(column > last, *wanted).distinct().order_by(column).limit(MAX_ADDRESSES_READ)
        nexts.append(select(some.subquery()))
    numbers = union(*nexts).subquery()
    return select(numbers).order_by(numbers.c.address_id).limit(MAX_ADDRESSES_READ).subquery()


def find_last_number(connection: Connection) -> int:
    """The highest number of an address; 0 where there is none."""
    return connection.scalar(select(func.max(_table.c.id))) or 0


def find_text(connection: Connection, number: int) -> str | None:
    """The address with that number, spelled as in the first message to it; None once it was erased."""
    return connection.scalar(_TEXT, {"number": number})


def read_texts(connection: Connection, numbers: Sequence[int]) -> dict[int, str | None]:
    """The same of some hundred addresses, by their numbers."""
    return {row.id: row.text for row in connection.execute(_TEXTS, {"numbers": list(numbers)})}


def erased(connection: Connection, numbers: Iterable[int]) -> set[int]:
    """Those of the addresses whose text was erased."""
    wanted, found = sorted(numbers), set[int]()
    for start in range(0, len(wanted), MAX_PARAMETERS):
        here = _table.c.id.in_(wanted[start : start + MAX_PARAMETERS])
        found.update(connection.scalars(select(_table.c.id).where(here, _table.c.text.is_(None))))
    return found


def is_erased(connection: Connection, number: int) -> bool:
    """Whether the text of the address with that number was erased."""
    return find_text(connection, number) is None


def find_key(connection: Connection, number: int) -> bytes:
    """The key of the address with that number; empty where there is none."""
    return bytes(connection.scalar(select(schema.address.c.key).where(schema.address.c.id == number)) or b"")


def find_with_text(connection: Connection, number: int) -> tuple[Address, str | None]:
    """The address with that number, which must exist, and its text; None: it was erased."""
    row = connection.execute(select(schema.address).where(schema.address.c.id == number)).one()
    return Address(number, bytes(row.key)), row.text
