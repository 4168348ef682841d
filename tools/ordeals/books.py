"""Books: what Retour acknowledged against what its store holds, and what an ordeal came to."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

FAULTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an ordeal came to."""

    figures: Mapping[str, int | float | str]
    """What was done, and how often."""
    faults: tuple[str, ...] = ()
    """Each a sentence; none: Retour held."""


@dataclass
class Book:
    """Reports by their recipient, one report each."""

    acknowledged: set[str] = field(default_factory=set)
    """Those that heard 250, or that the mail server took and no longer holds."""
    unclear: set[str] = field(default_factory=set)
    """Those whose answer never came: they may be recorded or not."""

    def hear(self, code: int, to: str) -> None:
        """The answer to a report."""
        (self.acknowledged if code == 250 else self.unclear).add(to)

    def balance(self, recorded: Mapping[str, int], *, what: str = "report") -> list[str]:
        """The faults: acknowledged and not there, there twice, there and never handed over."""
        lost = sorted(self.acknowledged - recorded.keys())
        doubled = sorted(to for to, count in recorded.items() if count > 1)
        strange = sorted(recorded.keys() - self.acknowledged - self.unclear)
        found = {f"{what}s lost": lost, f"{what}s doubled": doubled, f"{what}s that nobody handed over": strange}
        return [f"{len(who)} {name}: {_some(who)}" for name, who in found.items() if who]


def read_recorded(database: Path, mark: str = "") -> Counter[str]:
    """How many failures are recorded of each address that begins with `mark`."""
    query = (
        "SELECT a.text FROM fact f JOIN address a ON a.id = f.address_id "
        "WHERE f.kind = 'bounce' AND f.action = 'failed' AND substr(a.text, 1, ?) = ?"
    )
    with closing(sqlite3.connect(database)) as connection:
        return Counter(text for (text,) in connection.execute(query, (len(mark), mark)))


def check_file(database: Path) -> list[str]:
    """The fault that SQLite finds in the file, if it does."""
    with closing(sqlite3.connect(database)) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    return [] if said == "ok" else [f"the database is damaged: {said}"]


def _some(who: Iterable[str]) -> str:
    names = list(who)
    return ", ".join(names[:FAULTS_SHOWN]) + (" ..." if len(names) > FAULTS_SHOWN else "")
