"""States: the table of what follows from the facts about each address; a row is also the lock of its address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, select, update

from retour_policy.core.decide import State
from retour_policy.core.state_json import from_dict, to_dict
from retour_policy.store import schema
from retour_policy.store.upsert import ignoring

_table = schema.address_state
_LOCK = select(_table.c.state).where(_table.c.address_id == bindparam("id")).with_for_update()
_READ = select(_table.c.address_id, _table.c.state).where(_table.c.address_id.in_(bindparam("numbers", expanding=True)))
_LOCK_ALL = _READ.order_by(_table.c.address_id).with_for_update()
_WRITE = update(_table).where(_table.c.address_id == bindparam("id")).values(state=bindparam("new"))
_CLEAR = update(_table).where(_table.c.address_id == bindparam("number")).values(state={})


def lock(connection: Connection, number: int) -> State:
    """The state of an address, its row created if there is none, and locked until the transaction ends."""
    found = connection.scalar(_LOCK, {"id": number})
    if found is None:
        connection.execute(ignoring(connection, _table), {"address_id": number, "state": {}})
        found = connection.scalar(_LOCK, {"id": number})
    return from_dict(found or {})


def lock_all(connection: Connection, numbers: Sequence[int]) -> dict[int, State]:
    """The states of some addresses by their numbers, their rows locked in that order until the transaction ends."""
    connection.execute(
        ignoring(connection, _table), [{"address_id": number, "state": {}} for number in sorted(numbers)]
    )
    rows = connection.execute(_LOCK_ALL, {"numbers": list(numbers)})
    return {number: from_dict(state) for number, state in rows}


def read(connection: Connection, numbers: Sequence[int]) -> dict[int, State]:
    """The states of some addresses by their numbers, an empty one where there is no row. Nothing is locked.

    Raises what `from_dict` and the JSON decoder do where a row was damaged.
    """
    states = dict(connection.execute(_READ, {"numbers": list(numbers)}).all())
    return {number: from_dict(states.get(number) or {}) for number in numbers}


def write(connection: Connection, states: Mapping[int, State]) -> None:
    """Write the states of some addresses, whose rows are locked."""
    if states:
        connection.execute(_WRITE, [{"id": number, "new": to_dict(state)} for number, state in states.items()])


def clear(connection: Connection, number: int) -> None:
    """Make the state of an address empty; the row may hold one that cannot be read."""
    connection.execute(_CLEAR, {"number": number})
