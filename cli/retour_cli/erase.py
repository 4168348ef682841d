"""Erase: forgets a person."""

from __future__ import annotations

import click

from retour_cli.output import json_option, print_json, say
from retour_cli.setup import Setup, options
from retour_policy import addresses


@click.command()
@click.argument("address")
@options
@click.confirmation_option("--yes", help="Do not ask.", prompt="This cannot be taken back. Forget this address?")
@json_option
def erase(setup: Setup, address: str, as_json: bool) -> None:
    """Forget ADDRESS: its text, diagnostics, copies and header values.

    What was decided stays: a suppressed person stays suppressed, also when
    an old list names the address again. Exit status 1 where it is not known.
    """
    from retour_policy.erasure import erase as forget
    from retour_policy.ledger import Address

    key = setup.key(address)
    with setup.store.writing() as connection:
        number = addresses.find(connection, [key]).get(key)
        changed = forget(connection, Address(number, key)) if number is not None else 0
    if not changed:
        say(f"{address}: not known", err=True)
        raise SystemExit(1)
    if as_json:
        print_json({"address": address, "rows": changed})
        return
    say(f"{address}: forgotten ({changed} rows)")
