"""Silence: the daemon's log cannot be written: its reader has gone, or never reads, or the disk is full."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

from lab.daemon import NO_STORMS, Daemon
from lab.wait import PATIENCE
from ordeals.books import Book, Verdict, check_file, read_recorded
from ordeals.client import Client

WAYS: Mapping[str, str] = {"the reader is gone": "gone", "nobody reads": "silent", "the disk is full": "full"}
MAX_REPORTS = 3_000


def run(folder: Path, seconds: float, chance: Random) -> Verdict:
    """Each way for a third of `seconds`: every report is taken at the first try, and SIGTERM ends the daemon."""
    figures: dict[str, int | float | str] = {}
    faults: list[str] = []
    for way, name in WAYS.items():
        (folder / name).mkdir()
        with _standard_error(name) as stderr, Daemon(folder / name, [NO_STORMS], stderr=stderr) as daemon:
            book, refused = Book(), 0
            client = Client(daemon.socket)
            todo = daemon.addresses(MAX_REPORTS, "report-")
            until = time.monotonic() + seconds / len(WAYS)
            for address, to in todo:
                code = client.deliver(address, to)
                book.hear(code, to)
                refused += code != 250
                if time.monotonic() > until:
                    break
            client.close()
            faults += [f"{way}: {one}" for one in book.balance(read_recorded(daemon.database, "report-"))]
            faults += check_file(daemon.database)
            figures[f"{way}: reports"] = len(book.acknowledged)
            if refused:
                faults.append(f"{way}: {refused} reports were not taken")
            if daemon.child.stop(PATIENCE) != 0:
                faults.append(f"{way}: it did not end as it should")
    return Verdict(figures, tuple(faults))


@contextmanager
def _standard_error(name: str) -> Iterator[int]:
    """A descriptor that takes nothing, or not for long."""
    if name == "full":
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            yield full
        finally:
            os.close(full)
        return
    reader, writer = os.pipe()
    if name == "gone":
        os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)
        if name != "gone":
            os.close(reader)
