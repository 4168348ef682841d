"""The ordeals of `make torture`: short runs hold, and the books show what they are for."""

from random import Random

import pytest

from lab.daemon import Daemon
from lab.process import workspace
from ordeals import disk
from ordeals.books import Book, check_file, read_recorded
from ordeals.client import Client


@pytest.mark.parametrize(
    ("recorded", "fault"),
    [
        ({"a": 1, "b": 1}, None),
        ({"a": 1, "b": 1, "unclear": 1}, None),
        ({"a": 1}, "1 reports lost: b"),
        ({"a": 2, "b": 1}, "1 reports doubled: a"),
        ({"a": 1, "b": 1, "c": 1}, "1 reports that nobody handed over: c"),
    ],
)
def test_the_books_show_what_is_lost_or_doubled(recorded, fault):
    """What was acknowledged is there once; what was not answered may be there, once."""
    book = Book(acknowledged={"a", "b"}, unclear={"unclear"})
    assert book.balance(recorded) == ([fault] if fault else [])


def test_a_report_is_read_from_the_store(tmp_path):
    """The client's report stands in the books under its recipient."""
    with workspace() as folder, Daemon(folder) as daemon:
        ((address, to),) = daemon.addresses(1, "bob-")
        client = Client(daemon.socket)
        assert client.deliver(address, to) == 250
        client.close()
        assert read_recorded(daemon.database, "bob-") == {to: 1}
        assert check_file(daemon.database) == []


def test_each_step_of_a_commit_may_fail():
    """All calls about the store's files fail once each: some reports hear 451, and none is lost or doubled."""
    with workspace() as folder:
        verdict = disk.run(folder, 0, Random(1))
    assert verdict.faults == ()
    assert int(verdict.figures["calls failed"]) > int(verdict.figures["calls of one commit"]) > 5
    assert int(verdict.figures["answered 451"]) > 0
