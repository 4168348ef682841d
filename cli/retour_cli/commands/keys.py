"""Keys: the key ring, made and rotated."""

from __future__ import annotations

import click

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, say
from retour_policy.errors import InputError
from retour_policy.tokens import keyring


@click.group()
def keys() -> None:
    """The key ring."""


@keys.command()
@options
@json_option
def create(context: Context, as_json: bool) -> None:
    """Create a key ring (mode 0600) where there is none.

    `retour init` does that for a new installation. A database that was used
    with another ring refuses a new one: docs/keeping.md, "A lost key ring".
    """
    path = context.config.tokens.keyring
    context.become_owner()
    try:
        made = keyring.create_file(path, context.clock())
    except FileExistsError as error:
        raise InputError(f"{path}: is there already; `retour keys rotate` renews its keys") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"keyring": str(path), "signing": made.signing(), "keys": len(made.keys)})
    else:
        say(f"wrote {path}")


@keys.command()
@options
@json_option
def rotate(context: Context, as_json: bool) -> None:
    """Sign with the next key from now on, and create a new next one.

    Old keys go on verifying, so no bounce is lost. Services take the new
    ring when they reload, or when they meet a key that they do not know.
    """
    path = context.config.tokens.keyring
    roots = context.ring_is_roots
    if not roots:
        _ = context.ring  # so that an error in it names the key of the configuration; and root becomes its owner
    try:
        before, after = keyring.rotate_file(path, context.clock())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"keyring": str(path), "signing": after.signing(), "was": before.signing(), "keys": len(after.keys)})
    else:
        say(f"{path}: key {after.signing()} signs now (was {before.signing()}); {len(after.keys)} keys verify")
        if roots:
            say("The services got a copy of it when they started: systemctl restart retour, before the next rotation")
