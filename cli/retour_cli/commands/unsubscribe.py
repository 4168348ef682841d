"""Unsubscribe: takes an address off a stream because its owner asked the postmaster, or puts it back."""

from __future__ import annotations

import click
from sqlalchemy import Connection

from retour_cli.context import Context, options
from retour_cli.output import json_option, print_json, say
from retour_policy.errors import EX_FAILED, InputError
from retour_policy.maintenance.suppression_files import MAX_NOTE_CHARACTERS
from retour_policy.messages.unsubscribes import Extent, UnsubscribeRecorder
from retour_policy.sanitize import clean
from retour_policy.store import addresses
from retour_policy.store.addresses import Address


@click.command()
@click.argument("address")
@options
@click.option("--stream", required=True, help="The stream that they leave.")
@click.option("--everything", is_flag=True, help="They leave all streams that are not transactional.")
@click.option("--undo", is_flag=True, help="They want the stream again, and left it or everything before.")
@click.option("--note", default="", help="Why, or who asked; kept with the fact.")
@json_option
def unsubscribe(
    context: Context, address: str, stream: str, everything: bool, undo: bool, note: str, as_json: bool
) -> None:
    """Unsubscribe ADDRESS from a stream, because its owner asked you to.

    The same as if they had pressed the button: hooks hear of it, and --undo
    takes it back. Exit status 1 if it was so already.
    """
    key, now, found = context.key(address), context.clock(), context.stream(stream)
    if found.transactional and not undo:
        raise InputError(f"{context.path}: stream {stream} is transactional: nobody can unsubscribe from it")
    recorder, secret = UnsubscribeRecorder(context.config, context.ledger), context.ring.address_secret
    extent: Extent = "everything" if everything else "stream"
    kept = " ".join(clean(note, MAX_NOTE_CHARACTERS).split())

    def work(connection: Connection) -> bool:
        who = Address(addresses.ensure(connection, secret, [address])[address], key)
        if undo:
            return recorder.take_back(connection, who, stream, "operator", now)
        return recorder.leave(connection, who, stream, "operator", extent, now, note=kept)

    changed = context.write(work)
    if as_json:
        print_json({"address": address, "stream": stream, "everything": everything, "undo": undo, "changed": changed})
    else:
        where = "all bulk mail" if everything else stream
        before = "" if changed else " already"
        say(f"{address}: {'subscribed to' if undo else 'unsubscribed from'} {where}{before}", err=not changed)
    if not changed:
        raise SystemExit(EX_FAILED)
