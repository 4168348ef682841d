"""Db: the database's schema, its state and its upgrade, and the size of its file."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, say


@click.group()
def db() -> None:
    """The database: its schema, bringing that up to date, and its size."""


@db.command()
@options
@json_option
def status(context: Context, as_json: bool) -> None:
    """Show which schema the database has, and which this version needs.

    Exit status 78 if they differ.
    """
    store = context.open_store(check=False)
    found = store.revision() if store.exists() else None
    if as_json:
        print_json({"database": store.name, "schema": found, "needed": store.NEEDED_REVISION})
    else:
        say(f"{store.name}: schema {found or 'none'}, this version needs {store.NEEDED_REVISION}")
    store.check()


@db.command()
@options
@json_option
def upgrade(context: Context, as_json: bool) -> None:
    """Create the tables, or upgrade those of an older version.

    Stop the services first: this locks the database until it is done.
    """
    from retour_policy.store import key_ring_mark, migrate

    store = context.open_store(check=False)
    before = store.revision() if store.exists() else None
    migrate.upgrade(store)
    key_ring_mark.bind(store, context.ring.address_secret, str(context.ring.path))
    if as_json:
        print_json({"database": store.name, "schema": store.NEEDED_REVISION, "before": before})
    else:
        was = "as before" if before == store.NEEDED_REVISION else f"was {before}" if before else "new"
        say(f"{store.name}: schema {store.NEEDED_REVISION}, {was}")


@db.command()
@options
@json_option
def compact(context: Context, as_json: bool) -> None:
    """Write the database's file anew, without the room of what was deleted.

    Needed once for a database from before 0.2.0: from then on it shrinks by
    itself. It needs as much free disk as the file is large, and all mail
    waits meanwhile: stop the services first.
    """
    store = context.store
    sizes = store.compact()
    if sizes is None:
        say(f"{store.name}: nothing to do; PostgreSQL frees room by itself (autovacuum)", err=as_json)
        return
    before, after = sizes
    if as_json:
        print_json({"database": store.name, "octets": after, "before": before})
    else:
        say(f"{store.name}: {after / 1e6:.1f} MB, was {before / 1e6:.1f} MB")
