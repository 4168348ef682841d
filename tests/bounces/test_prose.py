"""Text about several recipients: what is said of one is not taken for another's."""

from __future__ import annotations

import pytest

from retour_bounces import read

HEAD = "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nTo: us@example.org\nSubject: Undelivered mail\n"
SAID = "\nYour message could not be delivered:\n\n"


def failed(text: str) -> dict[str | None, tuple[str | None, str | None]]:
    """Reason and status of each failed recipient of a report in words."""
    found = read((HEAD + SAID + text).encode())
    return {one.recipient: (one.reason, one.status) for one in found.reports if one.action == "failed"}


@pytest.mark.parametrize("other", ["joann@example.com", "ann@example.com.example.net", "x-ann@example.com"])
def test_an_address_inside_another_is_not_that_one(other: str) -> None:
    """Both are recipients, each with its own reason."""
    found = failed(f"ann@example.com: mailbox full\n{other}: 550 5.1.1 User unknown\n")
    assert {name: reason for name, (reason, _) in found.items()} == {
        "ann@example.com": "mailboxfull",
        other: "userunknown",
    }


def test_a_status_is_that_of_the_whole_address_behind_which_it_stands() -> None:
    """ob is no part of bob."""
    found = failed("ob@example.com: 552 mailbox full\nbob@example.com: 550 5.1.1 user unknown\n")
    assert found["bob@example.com"] == ("userunknown", "5.1.1")
    assert found["ob@example.com"] == ("mailboxfull", "5.2.2")
