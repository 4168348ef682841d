"""Key ring mark: by what a database knows the key ring under whose secret its addresses are stored."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, select

from retour_policy.address import address_key, secret_fingerprint
from retour_policy.errors import StoreRefused, StoreUnavailable
from retour_policy.store import addresses, schema
from retour_policy.store.database import Store
from retour_policy.store.upsert import ignoring

MAX_ADDRESSES_TRIED = 100  # the oldest, and as many of the latest
_table = schema.key_ring


def bind(store: Store, secret: bytes, ring: str) -> None:
    """Hold the database, and any that takes its place while this process runs, to the ring in the file `ring`.

    `secret` is that ring's address secret; a rotation of its keys leaves it as it is. A database that has no mark yet
    gets one, if its addresses agree. Raises `StoreRefused`, `StoreUnavailable`.
    """

    def requirement(connection: Connection) -> None:
        if not belongs(connection, secret):
            raise StoreRefused(
                f"{store.name} was made with another key ring than {ring}, under which none of its suppressions would "
                'be found: put back the one that belongs to it (docs/keeping.md, "A lost key ring")'
            )

    store.require(requirement)
    try:
        _mark(store, secret, requirement)
    except StoreUnavailable:
        if not store.is_patient:
            raise


def _mark(store: Store, secret: bytes, requirement: Callable[[Connection], None]) -> None:
    with store.reading() as connection:
        if find(connection) is not None:
            return
    with store.writing() as connection:
        connection.execute(ignoring(connection, _table), {"id": 1, "fingerprint": secret_fingerprint(secret)})
        requirement(connection)  # another process may have been quicker, with another ring


def find(connection: Connection) -> bytes | None:
    """The fingerprint of the address secret; None: no process that had both has written it yet."""
    found = connection.scalar(select(_table.c.fingerprint))
    return None if found is None else bytes(found)


def belongs(connection: Connection, secret: bytes) -> bool:
    """Whether the addresses are stored under that secret: by the mark, or without one by the addresses."""
    mark = find(connection)
    if mark is not None:
        return hmac.compare_digest(mark, secret_fingerprint(secret))
    return _agree(addresses.read_ends(connection, MAX_ADDRESSES_TRIED), secret)


def _agree(found: Sequence[tuple[bytes, str]], secret: bytes) -> bool:
    """Most must: while nothing marked a database, a wrong ring may have been used with it for some time.

    Where all are erased, or there are none, any ring will do.
    """
    right = sum(hmac.compare_digest(key, address_key(secret, text)) for key, text in found)
    return 2 * right >= len(found)
