"""Erase: forgets a person."""

from __future__ import annotations

import click

from retour_cli.setup import Setup, options
from retour_policy import addresses


@click.command()
@click.argument("address")
@options
@click.confirmation_option("--yes", help="Do not ask.", prompt="This cannot be taken back. Forget this address?")
def erase(setup: Setup, address: str) -> None:
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
        click.echo(f"{address}: not known", err=True)
        raise SystemExit(1)
    click.echo(f"{address}: forgotten ({changed} rows)")
