"""Keys: the key ring's rotation."""

from __future__ import annotations

import click

from retour_cli.setup import Setup, options
from retour_policy import keyring


@click.group()
def keys() -> None:
    """The key ring."""


@keys.command()
@options
def rotate(setup: Setup) -> None:
    """Let the next key sign, and draw a new next one.

    Old keys go on verifying, so no bounce is lost. Services take the new
    ring when they reload, or when they meet a key that they do not know.
    Copy the file to the other hosts of the same database before the
    rotation after this one.
    """
    path = setup.config.tokens.keyring
    before = setup.ring.ring
    after = keyring.rotate(before, setup.clock())
    keyring.save(path, after)
    click.echo(f"{path}: key {after.signing()} signs now (was {before.signing()}); {len(after.keys)} keys verify")
