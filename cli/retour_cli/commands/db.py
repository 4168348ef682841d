"""Db: the database's schema, its state and its upgrade, the size of its file, and a copy of it elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from retour_cli.context import Context, options
from retour_cli.output import counted, json_option, print_json, say
from retour_policy.errors import EX_FAILED, InputError, StoreDamaged, StoreRefused
from retour_policy.files import make_folders
from retour_policy.store.database import MENDS_DAMAGE

if TYPE_CHECKING:
    from retour_policy.store.database import Store


@click.group()
def db() -> None:
    """The database: its schema, bringing that up to date, its size, a copy."""


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
@click.option("--deep", is_flag=True, help="Compare each index with its table too; takes longer.")
@json_option
def check(context: Context, deep: bool, as_json: bool) -> None:
    """Look whether the database's file is whole, also while services run.

    Exit status 78 if it is damaged: what to do then is said.
    """
    from retour_policy.store import integrity

    store = context.open_store(check=False)
    if not store.exists():
        raise StoreRefused(f"{store.name}: no database; `retour db upgrade` creates one")
    if store.is_shared:
        raise InputError(f"{store.name}: use the server's own program, such as pg_amcheck")
    with store.reading() as connection:
        faults = integrity.faults(connection, deep=deep)
    if as_json:
        print_json({"database": store.name, "faults": faults})
    else:
        say(*(f"{store.name}: {fault}" for fault in faults or ["whole"]))
    if faults:
        raise StoreDamaged(f"{store.name}: the database is damaged. {MENDS_DAMAGE}")


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


def _checked_url(_: click.Context, __: click.Parameter, url: str | None) -> str | None:
    from retour_policy.store.location import problem_of

    if url is not None and (problem := problem_of(url)):
        raise click.BadParameter(problem)
    return url


@db.command("copy")
@options
@click.option("--from", "source_url", metavar="URL", callback=_checked_url, help="What to copy, if not [store] url.")
@click.option("--to", "target_url", metavar="URL", callback=_checked_url, required=True, help="An empty database.")
@json_option
def copy_(context: Context, source_url: str | None, target_url: str, as_json: bool) -> None:
    """Copy everything into another, empty database: from SQLite to PostgreSQL,
    or back.

    Stop all services first. A copy that was cut off goes on where it was
    when you run it again. At the end the rows are counted, and each address
    is compared with its facts; then name the new database in [store] url.
    """
    from retour_policy.store import transfer
    from retour_policy.store.database import open_store

    if (source_url or context.config.store.url) == target_url:
        raise InputError(f"--to names the store that is to be copied: {target_url}")
    context.become_owner()
    source = open_store(source_url, file="--from") if source_url else context.store_of_any_ring
    target = open_store(target_url, file="--to", check=False)
    transfer.prepare(source, target)
    rows = transfer.count(source)
    with click.progressbar(length=max(rows, 1), label="copying", hidden=as_json, file=sys.stderr) as bar:
        bar.update(transfer.count(target))
        for written in transfer.copy(source, target):
            bar.update(written)
    transfer.finish(source, target)
    _compare(target, rows, as_json=as_json)


def _compare(target: Store, rows: int, *, as_json: bool) -> None:
    """Compare each address with its facts, and say what came of it all. Exit status 1 if one differs."""
    from retour_cli.render.changes import progress
    from retour_policy.maintenance.rebuild import differences

    target.check()
    with progress(target, "comparing", as_json=as_json) as reached:
        differing = sum(1 for _ in differences(target, reached))
    if as_json:
        print_json({"database": target.name, "rows": rows, "differing": differing})
    else:
        said = f"{counted(differing, 'address')} differ from the facts, as they did before" if differing else ""
        say(f"{target.name}: {counted(rows, 'row')} copied; {said or 'no difference from the facts'}")
    if differing:
        raise SystemExit(EX_FAILED)
