"""Changes: whom another policy treats otherwise, listed as far as there is room, and counted by stream."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click

from retour_cli.output import counted, print_json, print_table, say, wrapped
from retour_policy.config.model import Config
from retour_policy.maintenance.rebuild import Reached
from retour_policy.maintenance.simulate import Change, Rejudged, changes
from retour_policy.store import addresses
from retour_policy.store.database import Store


class ChangeList:
    """Takes addresses that were judged anew; prints at once as JSON, or a table at the end."""

    def __init__(self, config: Config, now: int, limit: int, *, as_json: bool) -> None:
        self._streams = {stream.name: stream.transactional for stream in config.stream}
        self._now = now
        self._limit = limit
        self._as_json = as_json
        self._totals: Counter[tuple[str, str]] = Counter()
        self._rows: list[tuple[str, str, str, str]] = []
        self._carried = 0

    def add(self, some: Iterable[Rejudged]) -> None:
        """Some more addresses."""
        for one in some:
            self._carried += one.is_carried
            for change in changes(one, self._streams, self._now):
                self._add(change)

    def _add(self, change: Change) -> None:
        self._totals[change.stream, change.what] += 1
        if self._as_json:
            print_json(_as_dict(change))
        elif len(self._rows) < self._limit:
            self._rows.append(_row(change))

    def end(self, nothing: str) -> None:
        """Print what remains to be said; `nothing` where there was no change."""
        if self._as_json:
            for (stream, what), number in sorted(self._totals.items()):
                print_json({"stream": stream, "would_be": what, "total": number})
            if self._carried:
                print_json({"carried": self._carried})
            return
        if self._rows:
            print_table(("address", "stream", "would be", "because"), self._rows)
        if self._totals.total() > len(self._rows):
            click.echo(f"and {self._totals.total() - len(self._rows)} more")
        for (stream, what), number in sorted(self._totals.items()):
            say(f"{stream}: {number} {what}")
        if not self._totals:
            click.echo(nothing)
        if self._carried:
            say(*wrapped("", _carried_words(self._carried)))


def _carried_words(number: int) -> str:
    return (
        f"{counted(number, 'address')}: older facts are purged. What they came to was carried forward as it was "
        "decided then; only what came later is judged anew."
    )


def _row(change: Change) -> tuple[str, str, str, str]:
    because = change.after or change.before
    return change.address or "(erased)", change.stream, change.what, because.words() if because else ""


def _as_dict(change: Change) -> dict[str, Any]:
    return {
        "address": change.address,
        "stream": change.stream,
        "would_be": change.what,
        "before": change.before.words() if change.before else None,
        "after": change.after.words() if change.after else None,
    }


@contextlib.contextmanager
def progress(store: Store, label: str, *, as_json: bool) -> Iterator[Reached]:
    """A progress bar on standard error, as far as the numbers of addresses tell; yields what moves it on."""
    with store.reading() as connection:
        last = addresses.find_last_number(connection)
    with click.progressbar(length=max(last, 1), label=label, hidden=as_json, file=sys.stderr) as bar:

        def reached(number: int) -> None:
            bar.update(number - bar.pos)

        yield reached
        bar.update(max(last, 1) - bar.pos)
