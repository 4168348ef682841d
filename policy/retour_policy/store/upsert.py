"""Upsert: INSERT statements that handle an existing row, built once for each database."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite


def ignoring(connection: Connection, table: Table) -> Executable:
    """INSERT that leaves an existing row with the same key unchanged; executed with the row's values.

    The result's `rowcount` says whether there was none; psycopg has it only if asked to keep it.
    """
    return _ignoring(connection.dialect.name, table)


def ignoring_and_telling(connection: Connection, table: Table) -> Executable:
    """The same for several rows; returns the primary keys of those that were new."""
    return _ignoring_and_telling(connection.dialect.name, table)


def replacing(connection: Connection, table: Table, changed: tuple[str, ...]) -> Executable:
    """INSERT that gives a row with the same primary key these new values."""
    return _replacing(connection.dialect.name, table, changed)


def adding(connection: Connection, table: Table, added: tuple[str, ...]) -> Executable:
    """INSERT that adds these numbers to those of a row with the same primary key."""
    return _adding(connection.dialect.name, table, added)


@cache
def _ignoring(dialect: str, table: Table) -> Executable:
    return _insert(dialect, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@cache
def _ignoring_and_telling(dialect: str, table: Table) -> Executable:
    return _insert(dialect, table).on_conflict_do_nothing().returning(*table.primary_key)


@cache
def _replacing(dialect: str, table: Table, changed: tuple[str, ...]) -> Executable:
    statement = _insert(dialect, table)
    new = {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=_key(table), set_=new)


@cache
def _adding(dialect: str, table: Table, added: tuple[str, ...]) -> Executable:
    statement = _insert(dialect, table)
    sums = {name: table.c[name] + statement.excluded[name] for name in added}
    return statement.on_conflict_do_update(index_elements=_key(table), set_=sums)


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def _key(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]
