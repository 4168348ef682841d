"""`retour explain --policy`: what recording a message would lead to, without recording it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

A = "anna@example.net"


def report(office: Any, folder: Path) -> Path:
    """A bounce that came back to a VERP address of a send to Anna."""
    (made,) = office.json("token", "make", "--stream", "news", "--to", A)
    text = re.search(r"--data '(.*)'", made["swaks"], re.S)
    assert text
    path = folder / "bounce.eml"
    path.write_text(text[1].replace("\\n", "\n"))
    return path


def test_what_policy_would_do_is_told_and_not_done(office: Any, folder: Path) -> None:
    """The words of the decision, however often it is asked; the store stays as it is."""
    path = report(office, folder)
    for _ in range(2):
        said = office("explain", "--policy", path).stdout
        assert "What policy would do now" in said and f"{A}: hard 1 of 3" in said
        office.fits(said)
    assert office.json("events", status=1) == []
    (found,) = office.json("explain", "--policy", str(path))
    assert found["policy"] == [f"{A}: hard 1 of 3"]


def test_what_nothing_matches_would_go_to_postmaster(office: Any, folder: Path) -> None:
    """A letter of a person."""
    path = folder / "letter.eml"
    path.write_text("From: karl@example.org\nTo: anna@example.com\nSubject: hello\n\nHello!\n")
    assert "forwarded to postmaster" in office("explain", "--policy", path).stdout


def test_policy_needs_a_configuration(office: Any, folder: Path) -> None:
    """Without it: exit status 78 and where it was looked for; explain alone needs none."""
    path = report(office, folder)
    office.config.unlink()
    assert str(office.config) in office("explain", "--policy", path, status=78).stderr
    assert office("explain", path).exit_code == 0
