"""Transfer: copies all rows of one store into another that is empty, table by table; goes on where it was cut off.

The target cannot be used meanwhile: where its schema's revision stands, it says that it is being copied into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, column, func, insert, select, table, tuple_, update

from retour_policy.errors import InputError, StoreUnavailable
from retour_policy.store import contents, counters, migrate, postgresql, schema
from retour_policy.store.database import Store, is_of_the_item, open_store

MAX_ROWS = 5_000  # in one transaction: nobody else uses the target
TABLES = schema.metadata.sorted_tables
_version = table(schema.VERSION_TABLE, column("version_num"))


def prepare(source: Store, target: Store) -> None:
    """Make the target ready for rows of `source`, or find it so. Raises `InputError` if it is not empty."""
    if not target.exists() or target.revision() is None:
        migrate.upgrade(target)
    if target.revision() != schema.COPYING:
        open_store(target.url).close()  # this one must not be held to what it is not while rows come
        with target.writing() as connection:
            if not contents.is_untouched(connection):
                raise InputError(f"{target.name} is not empty; nothing was copied into it")
            connection.execute(schema.key_ring.delete())  # it comes with the rows
            connection.execute(update(_version).values(version_num=schema.COPYING))


def count(store: Store) -> int:
    """How many rows there are in all tables."""
    with store.reading() as connection:
        return sum(_counts(connection).values())


def copy(source: Store, target: Store) -> Iterator[int]:
    """Copy what is not in the target yet; yields after each transaction how many rows it wrote.

    The source is read as it is when this begins. Raises `InputError` if what is in the target is not its beginning.
    """
    with source.reading() as connection:
        for one in TABLES:
            with target.reading() as there:
                last = _last_copied(connection, there, one, source, target)
            while rows := _next_rows(connection, one, last):
                _write(target, one, rows)
                last = _key(one, rows[-1])
                yield len(rows)


def finish(source: Store, target: Store) -> None:
    """Let the target be used. Raises `InputError` unless it has as many rows of each table as the source has now."""
    with source.reading() as connection:
        wanted = _counts(connection)
        numbers = {one: counters.read_last(connection, one) for one in TABLES if counters.is_counted(one)}
    with target.writing() as connection:
        found = _counts(connection)
        for one in TABLES:
            if found[one] != wanted[one]:
                raise InputError(
                    f"{source.name} has changed meanwhile ({one.name}: {wanted[one]} rows, {found[one]} were copied): "
                    "stop all services, then begin again with an empty database"
                )
        for one, last in numbers.items():
            counters.write_last(connection, one, last)
        connection.execute(update(_version).values(version_num=schema.REVISION))


def _counts(connection: Connection) -> dict[Table, int]:
    return {one: connection.scalar(select(func.count()).select_from(one)) or 0 for one in TABLES}


def _last_copied(
    connection: Connection, there: Connection, one: Table, source: Store, target: Store
) -> tuple[Any, ...] | None:
    """The key of the last row that an earlier run has copied; None: it has copied none.

    By their number, as two databases may sort text differently.
    """
    copied = there.scalar(select(func.count()).select_from(one)) or 0
    if not copied:
        return None
    row = connection.execute(select(one).order_by(*one.primary_key).offset(copied - 1).limit(1)).first()
    key = _key(one, row) if row else ()
    if row is None or there.execute(select(one).where(_keys(one) == tuple_(*key))).first() != row:
        raise InputError(
            f"{target.name} has rows that {source.name} does not have, or not in this order; "
            "stop all services, then begin again with an empty database"
        )
    return key


def _next_rows(connection: Connection, one: Table, last: tuple[Any, ...] | None) -> Sequence[Row[Any]]:
    query = select(one).order_by(*one.primary_key).limit(MAX_ROWS)
    if last is not None:
        query = query.where(_keys(one) > tuple_(*last))
    return connection.execute(query).all()


def _write(target: Store, one: Table, rows: Sequence[Row[Any]]) -> None:
    try:
        with target.writing() as connection:
            if connection.dialect.name == "postgresql":
                postgresql.copy_rows(connection, one, rows)
            else:
                connection.execute(insert(one), [row._asdict() for row in rows])
    except StoreUnavailable:
        raise
    except Exception as error:
        if not is_of_the_item(error):
            raise
        cause = postgresql.one_line(str(getattr(error, "orig", error)))
        raise InputError(f"{target.name}: a row of {one.name} cannot be stored: {cause}") from error


def _keys(one: Table) -> Any:
    return tuple_(*one.primary_key)


def _key(one: Table, row: Row[Any]) -> tuple[Any, ...]:
    return tuple(row._mapping[part] for part in one.primary_key)
