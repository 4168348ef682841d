"""The postmaster takes people off a stream who asked them, and puts them back."""

from __future__ import annotations

from typing import Any

import pytest

A = "anna@example.net"


def suppressed(office: Any) -> list[tuple[str, str]]:
    return [(one["scope"], one["cause"]) for one in office.json("suppressions", "list")]


@pytest.mark.parametrize(("words", "scope"), [((), "news"), (("--everything",), "bulk")])
def test_somebody_is_unsubscribed_and_put_back(office: Any, words: tuple[str, ...], scope: str) -> None:
    """A fact with its way and note; once, and undone once; the books balance."""
    assert "unsubscribed from" in office("unsubscribe", A, "--stream", "news", "--note", "by phone", *words).stdout
    assert suppressed(office) == [(scope, "unsubscribe")]
    (fact,) = office.json("events")
    assert (fact["kind"], fact["way"], fact["note"], fact["stream"]) == ("unsubscribe", "operator", "by phone", "news")
    assert "already" in office("unsubscribe", A, "--stream", "news", *words, status=1).stderr
    assert "subscribed to" in office("unsubscribe", A, "--stream", "news", "--undo").stdout
    assert suppressed(office) == []
    (done,) = office.json("unsubscribe", A, "--stream", "news", "--undo", status=1)
    assert done["changed"] is False and office.json("rebuild") == []


def test_nobody_is_taken_off_transactional_mail(office: Any) -> None:
    """Refused with the reason."""
    office.edit('name = "news"', 'name = "news"\ntransactional = true')
    assert "transactional" in office("unsubscribe", A, "--stream", "news", status=1).stderr
    assert office.json("events", status=1) == []


def test_an_erased_person_stays_unsubscribed(office: Any) -> None:
    """Their wish outlives their data; what is kept of the fact says nothing about them."""
    office("unsubscribe", A, "--stream", "news", "--note", "anna@example.net rang")
    office("erase", A, "--yes")
    assert A not in office("events", "--json").stdout
    (fact,) = office.json("events")
    assert fact["way"] == "operator" and "note" not in fact
    assert office.json("suppressions", "list")[0]["cause"] == "unsubscribe" and office.json("rebuild") == []
