"""Db: the database's schema, its state and its upgrade, and the size of its file."""

from __future__ import annotations

from pathlib import Path

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, say
from retour_policy.errors import InputError, StoreRefused
from retour_policy.files import make_folders


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
@click.argument("file", type=click.Path(path_type=Path))
@options
@json_option
def backup(context: Context, file: Path, as_json: bool) -> None:
    """Copy the database to a new FILE, also while the services run.

    The copy is of one moment, and one file; its folder is made. Run by root,
    it belongs to the database's owner, who must be able to write there.
    Back up the key ring with it: docs/keeping.md.
    """
    store = context.open_store(check=False)
    if not store.exists():
        raise StoreRefused(f"{store.name}: no database")
    try:
        make_folders(file.absolute().parent, 0o750)
        octets = store.back_up(file)
    except FileExistsError as error:
        raise InputError(f"{file}: is there already; name a new file") from error
    except OSError as error:
        raise InputError(f"{error.filename or file}: {error.strerror}") from error
    if octets is None:
        raise InputError(f"{store.name}: use the server's own program, such as pg_dump")
    if as_json:
        print_json({"database": store.name, "file": str(file), "octets": octets})
    else:
        say(f"wrote {file}: {octets / 1e6:.1f} MB")


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
