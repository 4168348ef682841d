"""Erase: erases a person's data but keeps the suppression."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, printable, say
from retour_policy.errors import InputError
from retour_policy.outbox.spool import Spool


@click.command()
@click.argument("address")
@options
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def erase(context: Context, address: str, yes: bool, as_json: bool) -> None:
    """Erase a person's data but keep the suppression.

    Erased are the text of ADDRESS, diagnostics, copies and header values. A
    suppressed address stays suppressed, also when an old list names it
    again. The whole store is searched for mentions, and what waits for
    postmaster and names the address is deleted. Exit status 1 if it is
    nowhere. Backups and logs are yours to clear.
    """
    from retour_policy.erasure.erase import erase_everywhere

    key = context.key(address)  # so that a typing error is told before it is asked about
    if not yes:
        click.confirm(f"This cannot be undone. Erase {printable(address)}?", abort=True)
    spool = Spool(context.config.spool.dir)
    try:
        changed = sum(erase_everywhere(context.store, spool, key, address))
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; run it again to erase the rest") from error
    if not changed:
        say(f"{address}: not known", err=True)
        raise SystemExit(1)
    if as_json:
        print_json({"address": address, "rows": changed})
        return
    say(f"{address}: erased ({changed} rows)")
