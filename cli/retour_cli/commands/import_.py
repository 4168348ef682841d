"""Import: reads old bounces, and records them at their own dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import click
from sqlalchemy import Connection

from retour_bounces import read
from retour_cli.context import Context, options
from retour_cli.import_preview import ImportPreview
from retour_cli.output import json_option, print_json, say
from retour_policy.errors import EX_FAILED
from retour_policy.maintenance import suppression_files
from retour_policy.messages import mailbox
from retour_policy.messages.fingerprint import Fingerprint
from retour_policy.messages.mailbox import Mailbox, OldMessage
from retour_policy.messages.returned import ReturnRecorder, Transaction
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Router
from retour_policy.store.batches import in_batches
from retour_policy.store.database import is_of_the_item
from retour_policy.tokens.token import EPOCH

MAX_MESSAGES_IN_TRANSACTION = 20
_OUTCOMES = {
    "duplicate": "recorded before",
    "surplus": "surplus: counted, not recorded, for there are many about the same message",
    "unmatched": "unmatched, not recorded: about no mail on record",
}


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@options
@click.option("--count-unsigned", is_flag=True, help="Count what no mail on record shows to be genuine, too.")
@click.option("--dry-run", is_flag=True, help="Show what would count, and record nothing.")
@json_option
def import_(context: Context, path: Path, count_unsigned: bool, dry_run: bool, as_json: bool) -> None:
    """Record old bounces from an mbox, a Maildir or a folder of .eml files.

    Each is recorded at its own date. What is recorded already is
    skipped, so this can be stopped and run again. Nothing is forwarded to
    postmaster. Exit status 1 if a message could not be used.

    A bounce counts where a token or a recorded send shows that it is about
    mail of ours, unless good sends came after it. Those from before Retour
    have neither: they are unmatched, and count only with --count-unsigned,
    by which you vouch for them. What was unmatched can be imported again.
    Run by root, the files of a folder are read as the user who owns the
    database.
    """
    box = Mailbox(path)  # before anything else: an mbox may be such that only root can open it
    importer = Importer(context, vouches=count_unsigned, dry_run=dry_run)
    with click.progressbar(length=len(box), label="reading", hidden=as_json) as bar:
        chunk: list[OldMessage] = []
        for message in box:
            chunk.append(message)
            if len(chunk) == MAX_MESSAGES_IN_TRANSACTION:
                importer.take(chunk)
                bar.update(len(chunk))
                chunk = []
        importer.take(chunk)
        bar.update(len(chunk))
    if importer.preview:
        _say_preview(importer.preview, importer.outcomes, as_json=as_json)
    if as_json:
        print_json(dict(importer.outcomes))
    else:
        lines = [f"{number} {what}" for what, number in sorted(importer.outcomes.items())]
        say(*lines or ["no message found"])
    for line in importer.faults:
        say(line, err=True)
    if importer.faults:
        raise SystemExit(EX_FAILED)


def _say_preview(preview: ImportPreview, outcomes: Counter[str], *, as_json: bool) -> None:
    """Who would be suppressed; and how many reports would count, into `outcomes`."""
    for address, change in preview.total(outcomes):
        if as_json:
            print_json({"would_be": change.type} | suppression_files.to_dict(address, change.one))
        else:
            say(f"{address or '(erased)'}: would be {change.type}: {change.one.words()}")


@dataclass
class _Clock:
    """A clock at the date of the imported message, so that its token is as old as it was then."""

    at: int = 0

    def __call__(self) -> int:
        return self.at


class Importer:
    """Records messages a few at a time."""

    def __init__(self, context: Context, *, vouches: bool, dry_run: bool) -> None:
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.preview = ImportPreview(context.store, context.clock()) if dry_run else None
        self._places: dict[bytes, str] = {}
        self._context = context
        self._vouches = vouches
        self._clock = _Clock()
        self._router = Router(context.config, context.ring, self._clock)

    def take(self, messages: list[OldMessage]) -> None:
        """Read and record some messages, in short transactions."""
        self._places.clear()
        returned = [one for one in map(self._returned, messages) if one]
        if not returned:
            return
        recorder = self._recorder
        if self.preview:
            for one in returned:
                self._previewed(self.preview, recorder, one)
            return

        def work(connection: Connection, batch: Sequence[tuple[ReturnedMessage, Transaction, bool]]) -> int:
            for message, transaction, is_first in batch:
                outcome = self._recorded(connection, message, transaction)
                if is_first or outcome == "failed":
                    self.outcomes[_OUTCOMES.get(outcome, outcome)] += 1
            return len(batch)

        for _ in in_batches(self._context.store, _transactions(recorder, returned), 1, work):
            pass

    def _recorded(self, connection: Connection, message: ReturnedMessage, transaction: Transaction) -> str:
        try:
            self._clock.at = message.at
            with connection.begin_nested():
                return transaction(connection)
        except Exception as error:
            if not is_of_the_item(error):
                raise
            self.faults.append(f"{self._places[message.fingerprint]}: {error}")
            return "failed"

    def _previewed(self, preview: ImportPreview, recorder: ReturnRecorder, message: ReturnedMessage) -> None:
        try:
            self._clock.at = message.at
            outcome = preview.take(recorder, message)
        except Exception as error:
            if not is_of_the_item(error):
                raise
            self.faults.append(f"{self._places[message.fingerprint]}: {error}")
            outcome = "failed"
        if outcome != "recorded":  # of these it is told whether they would count
            self.outcomes[_OUTCOMES.get(outcome, outcome)] += 1

    @cached_property
    def _recorder(self) -> ReturnRecorder:
        """Must not be built inside a transaction: it puts the policy in force."""
        context = self._context
        recorder = ReturnRecorder.of(context.config, context.ring, context.ledger, self._clock)
        return replace(recorder, proof_rules=replace(recorder.proof_rules, vouches=self._vouches))

    def _returned(self, message: OldMessage) -> ReturnedMessage | None:
        if message.fault:
            self.faults.append(f"{message.place}: {message.fault}")
            return None
        if message.at is None or not EPOCH <= message.at <= self._context.clock():
            self.faults.append(f"{message.place}: has no date, or one before 2020 or in the future")
            return None
        self._clock.at = message.at
        delivered_to, route = mailbox.route(message, self._router)
        fingerprint = Fingerprint.of_file(message.raw)
        self._places[fingerprint] = message.place
        return ReturnedMessage(
            at=message.at,
            route=route,
            recipient=delivered_to,
            sender="",
            raw=message.raw,
            fingerprint=fingerprint,
            report=read(message.raw),
            imported=self._context.clock(),
        )


def _transactions(
    recorder: ReturnRecorder, returned: Sequence[ReturnedMessage]
) -> Iterator[tuple[ReturnedMessage, Transaction, bool]]:
    """What is to be done for each message, in order, and whether it is the first or only transaction of it."""
    for message in returned:
        for number, transaction in enumerate(recorder.transactions(message)):
            yield message, transaction, number == 0
