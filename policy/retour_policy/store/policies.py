"""Policies: the table of every policy that a fact was ever judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from retour_policy.store import schema
from retour_policy.store.upsert import ignoring

_table = schema.policy


def ensure(connection: Connection, digest: bytes, content: Mapping[str, Any], now: int) -> int:
    """The number of the policy with that digest; one that is new gets a row, put in force at `now` (milliseconds)."""
    connection.execute(ignoring(connection, _table), {"hash": digest, "at": now, "content": content})
    return int(connection.scalar(select(_table.c.id).where(_table.c.hash == digest)) or 0)


def read(connection: Connection) -> dict[int, dict[str, Any]]:
    """All policies as JSON holds them, by their numbers."""
    return dict(connection.execute(select(_table.c.id, _table.c.content)).all())
