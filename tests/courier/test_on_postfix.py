"""The whole way on a real Postfix: a soft bounce is sent again, forwards arrive, a relay refuses and recovers."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from lab.destination import Destination, Refuse, RefuseOnce
from lab.postfix import PrivatePostfix
from lab.process import workspace
from lab.site import Site
from lab.wait import wait_until
from retour_policy.store import facts, outbox_selection
from retour_policy.store.database import open_store
from retour_policy.store.outbox_selection import ItemFilter

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
retry = { interval = "1s", count = 2 }
max_size = "16k"
headers = { X-Stream = "{stream}" }

[[stream]]
name = "static"
match = { sender = ["static@example.com"] }
envelope_from = "returns@bounces.example.com"
retry = { interval = "1s", count = 1 }

[[stream]]
name = "once"
match = { sender = ["once@example.com"] }
envelope_from = "b-%@bounces.example.com"

[[hook]]
name = "told"
on = ["bounce.soft", "resent"]
command = ["/usr/bin/tee", "-a", "@FOLDER@/told"]
connections = 1
"""
SOON = {"first_pause": '"1s"', "longest_pause": '"1s"'}
REFUSING = {
    "smtpd_milters": "",
    "non_smtpd_milters": "",
    "smtpd_recipient_restrictions": "check_client_access static:{451 4.3.0 not now}",
}


@pytest.fixture(scope="module")
def site():
    with workspace() as folder, Site(folder, STREAMS.replace("@FOLDER@", str(folder)), settings=SOON) as site:
        yield site


def softly(site, sender, to, **options):
    """A message that bounces softly the first time; later ones are taken."""
    local = to.partition("@")[0]
    site.destination.script[local] = RefuseOnce("552 5.2.2 Mailbox full")
    assert site.send(sender, to, **options).accepted
    wait_until(lambda: recorded(site, to, "bounce"), what=f"a bounce of {to}")
    return site.events("--address", to, "--kind", "bounce")[0]


def recorded(site, address, kind):
    """How many facts of the kind there are about an address: asked of the store, which is quicker than the command."""
    with reading(site) as connection:
        return sum(fact.address == address for fact in facts.read(connection, facts.FactFilter(kind=kind)))


@contextmanager
def reading(site):
    store = open_store(f"sqlite:///{site.home}/retour.db")
    with store.reading() as connection:
        yield connection
    store.close()


def waiting(site):
    """What is in the outbox."""
    with reading(site) as connection:
        return outbox_selection.read(connection, outbox_selection.read_ids(connection, ItemFilter()))


def copies(site):
    return list((site.home / "spool").glob("??/*.gz"))


def test_a_soft_bounce_is_sent_again_and_arrives(site):
    """Stamped as the first was, with a token of its own, the body as it was; shown as resend 1 of 2."""
    first = softly(site, "news@example.com", "soft@example.net", headers={"Retour-Tag": "t1"}, body="Grüße\n.\n..dots")
    arrived = site.destination.wait_to("soft@example.net")
    assert arrived.headers("X-Stream") == ["news"]
    assert len(arrived.headers("Retour-Ref")) == 1
    assert arrived.headers("Retour-Tag") == []
    assert "Grüße\r\n.\r\n..dots\r\n".encode() in arrived.content
    token = site.retour("token", "read", arrived.sender).stdout
    assert str(first["send_id"]) not in token
    wait_until(lambda: recorded(site, "soft@example.net", "resent"), what="the fact")
    (resent,) = site.events("--address", "soft@example.net", "--kind", "resent")
    assert (resent["send_id"], resent["resend"], resent["max_attempts"]) == (first["send_id"], 1, 2)
    assert resent["tag"] == "t1"
    assert "  resend 1 of 2" in site.retour("events", "--address", "soft@example.net").stdout
    told = wait_until(lambda: told_of(site, "soft@example.net", 2), what="both events")
    assert [event["type"] for event in told] == ["bounce.soft", "resent"]
    assert (told[1]["data"]["resend"], told[1]["data"]["max_attempts"]) == (1, 2)


def told_of(site, address, count):
    path = site.folder / "told"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = [event for event in events if event["data"].get("address") == address]
    return found if len(found) == count else None


def test_its_bounces_are_the_same_mails_and_after_the_last_it_is_over(site):
    """Three failures of one mail: one counted, two resends, no more."""
    to = "stays@example.net"
    site.destination.script["stays"] = Refuse("552 5.2.2 Mailbox full")
    site.send("news@example.com", to)
    wait_until(lambda: recorded(site, to, "bounce") == 3, what="three bounces")
    bounces = site.events("--address", to, "--kind", "bounce")
    assert len({event["send_id"] for event in bounces}) == 1
    assert [event.get("resend") for event in bounces] == [None, 1, 2]
    # The bounce of a resend can come back before the courier has noted that Postfix took it.
    wait_until(lambda: site.json("outbox", "list", "--kind", "resend") == [], what="all resends noted")
    assert site.json("address", "show", to)[0]["sends"] == 1


def test_a_stream_with_a_static_sender_is_known_by_the_reference(site):
    """Its resend carries a reference of its own, so that the bounce tells which attempt it was."""
    to = "fixed@example.net"
    site.destination.script["fixed"] = Refuse("552 5.2.2 Mailbox full")
    site.send("static@example.com", to)
    wait_until(lambda: recorded(site, to, "bounce") == 2, what="two bounces")
    assert [event.get("resend") for event in site.events("--address", to, "--kind", "bounce")] == [None, 1]
    assert site.json("address", "show", to)[0]["sends"] == 1


@pytest.mark.parametrize(
    ("sender", "to", "body"),
    [
        ("news@example.com", ["ok+a@example.net", "ok+b@example.net"], "small"),
        ("news@example.com", ["ok+large@example.net"], "x" * 70 + "\n" + "large\n" * 4000),
        ("once@example.com", ["ok+once@example.net"], "small"),
    ],
)
def test_copies_are_kept_only_of_what_can_be_sent_again(site, sender, to, body):
    """Not with several recipients, not above max_size, not in a stream without `retry`."""
    before = copies(site)
    assert site.send(sender, to, body=body).accepted
    site.destination.wait_to(to[-1])
    assert copies(site) == before
    assert site.send("news@example.com", "ok+kept@example.net", body="small").accepted
    assert len(copies(site)) == len(before) + 1
    assert copies(site)[0].stat().st_mode & 0o777 == 0o600


def test_a_relay_that_refuses_gets_all_of_it_when_it_takes_mail_again():
    """A Postfix that says 451 to everybody, then one that is not there, then one that works: nothing is lost."""
    with workspace() as folder, Destination() as destination:
        relay = PrivatePostfix(folder / "relay", destinations={"example.net": destination.hop}, main=REFUSING)
        with (
            relay,
            Site(
                folder, STREAMS.replace("@FOLDER@", str(folder)), settings={**SOON, "port": str(relay.smtp_port)}
            ) as site,
        ):
            softly(site, "news@example.com", "soft@example.net")
            site.send_from_outside("ann@example.org", "postmaster@bounces.example.com", headers={"Subject": "hello"})
            wait_until(lambda: refused(site, "451 4.3.0 <", 2), what="refusals", seen=lambda: waiting(site))
            relay.abort()
            wait_until(lambda: refused(site, "127.0.0.1:", 2), what="failures", seen=lambda: waiting(site))
            relay.run("postconf", "-e", "smtpd_recipient_restrictions =")
            relay.start()
            destination.wait_to("soft@example.net")
            destination.wait_for(lambda message: b"Subject: hello" in message.content)
            wait_until(lambda: not waiting(site), what="an empty outbox", seen=lambda: waiting(site))


def refused(site, words, count):
    """Whether that many items were refused with these words."""
    return sum(item.error.startswith(words) for item in waiting(site)) == count
