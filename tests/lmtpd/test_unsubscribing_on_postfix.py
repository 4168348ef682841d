"""Unsubscribing by mail on a real Postfix: the fields that arrive, and what is written to the address in them."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.destination import Arrived
from lab.process import workspace
from lab.reports import hard_bounce
from lab.site import OUTSIDER, Site
from lab.wait import wait_until

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
unsubscribe = { https = "https://unsubscribe.example.com", mailto = true, post = true }
list_id = "Example news <news.example.com>"
suppressed = "refuse"

[[stream]]
name = "bills"
match = { sender = ["bills@example.com"] }
envelope_from = "b-%@bounces.example.com"
transactional = true
"""
LINK = re.compile(r"<(https://unsubscribe\.example\.com/u/[a-z2-7]{40})>")
MAILTO = re.compile(r"<mailto:(b-[a-z2-7]{40}@bounces\.example\.com)\?subject=unsubscribe>")
HANDED = Path(__file__).parents[3] / "shared/field/handed/eml"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with workspace() as folder, Site(folder, STREAMS) as site:
        yield site


def got(site: Site, *to: str) -> list[Arrived]:
    """What arrived for these, the latest first."""
    return [one for one in reversed(site.destination.arrived) if set(one.recipients) == set(to)]


def sent(site: Site, *to: str, sender: str = "news@example.com") -> str:
    """What `List-Unsubscribe` says in a message that arrived."""
    site.send(sender, to)
    message = wait_until(lambda: next(iter(got(site, *to)), None), what="the message")
    assert (message.headers("List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]) == (len(to) == 1)
    (field,) = message.headers("List-Unsubscribe")
    return field


def mailto(site: Site, *to: str) -> str:
    found = MAILTO.search(sent(site, *to))
    assert found
    return found[1]


def write(site: Site, to: str, message: str, sender: str = "anna@home.example") -> int:
    """A person's mail program writes to `to`; what Postfix answers to RCPT."""
    with smtplib.SMTP("127.0.0.1", site.postfix.smtp_port, source_address=(OUTSIDER, 0)) as client:
        client.helo("home.example")
        client.mail(sender)
        code, _ = client.rcpt(to)
        if code == 250:
            assert client.data(message.encode())[0] == 250
    site.postfix.wait_queue_empty()
    return code


def suppressed(site: Site, address: str) -> list[tuple[str, str]]:
    return [(one["scope"], one["cause"]) for one in site.json("suppressions", "list") if one["address"] == address]


def test_one_recipient_gets_a_link_and_a_mail_address(site: Site) -> None:
    """The link first, at most 120 characters; every token is another one's."""
    field = sent(site, "ok+one@example.net")
    link, address = LINK.search(field), MAILTO.search(field)
    assert link and address and field.index("https:") < field.index("mailto:") and len(link[1]) <= 120
    assert LINK.search(sent(site, "ok+two@example.net"))[1] != link[1]  # type: ignore[index]


@pytest.mark.parametrize("file", ["apple-unsub.eml", "unsub-3.eml", ""])
def test_a_mail_program_unsubscribes_its_user(site: Site, file: str) -> None:
    """Believed by the token alone: whoever From names, whatever else it says; an auto-reply it never is.

    The next message is refused; transactional mail still goes.
    """
    to = f"ok+by-{file.partition('.')[0]}@example.net"
    if file and not HANDED.is_dir():
        pytest.skip("the messages that were handed over are not beside this checkout")
    text = (HANDED / file).read_text() if file else "From: somebody@else.example\n\nNo more of this, please!\n"
    address = mailto(site, to)
    assert write(site, address.upper(), text) == 250
    assert suppressed(site, to) == [("news", "unsubscribe")]
    (fact,) = site.events("--address", to)
    assert (fact["kind"], fact["way"], fact["stream"], fact["proof"]) == ("unsubscribe", "mail", "news", "signed")
    assert [r.code for r in site.send("news@example.com", to).replies if r.command.startswith("RCPT")] == [550]
    assert write(site, address, text) == 250 and len(site.events("--address", to)) == 1
    site.send("bills@example.com", to)
    wait_until(lambda: len(got(site, to)) == 2, what="the bill")
    assert got(site, to)[0].headers("List-Unsubscribe") == []


def test_of_several_recipients_the_one_who_writes_leaves(site: Site) -> None:
    """There is no link, which could be anybody's; a stranger's letter goes to postmaster."""
    ann, ben = "ok+ann@example.net", "ok+ben@example.net"
    address = mailto(site, ann, ben)
    write(site, address, "From: stranger@example.org\nSubject: unsubscribe\n\n", "stranger@example.org")
    assert suppressed(site, ann) == suppressed(site, ben) == []
    write(site, address, f"From: Ann <{ann.upper()}>\nAuto-Submitted: auto-replied\n\n", "")
    assert suppressed(site, ann) == [("news", "unsubscribe")] and suppressed(site, ben) == []
    site.destination.wait_for(lambda m: "postmaster@example.net" in m.recipients and b"stranger@" in m.content)


def test_a_report_to_such_an_address_unsubscribes_nobody(site: Site) -> None:
    """Nobody wants to leave by a mail server's message; postmaster gets it."""
    to = "ok+report@example.net"
    write(site, mailto(site, to), hard_bounce(to), "")
    assert suppressed(site, to) == []


def test_a_forged_address_is_refused_before_it_is_queued(site: Site) -> None:
    """One character changed, or a link's token of another ring: Postfix says 550."""
    address = mailto(site, "ok+forged@example.net")
    swapped = address[:10] + ("a" if address[10] != "a" else "b") + address[11:]
    assert write(site, swapped, "") == 550
    assert site.json("rebuild") == []
