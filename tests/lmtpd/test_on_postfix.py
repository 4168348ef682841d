"""One message's whole way out and back on a real Postfix: what comes back is recorded, and nothing is lost."""

import fcntl
import re
import smtplib

import pytest

from lab.process import workspace
from lab.reports import hard_bounce
from lab.site import HERE, Site
from lab.wait import PATIENCE, wait_until

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"

[[stream]]
name = "static"
match = { sender = ["static@example.com"] }
envelope_from = "returns@bounces.example.com"
"""
# Postfix itself makes one sender per recipient, on top of the stamp, where the client asks for it.
XVERP = {
    "smtpd_command_filter": "regexp:{ { /^(MAIL FROM:<xverp@.*)$$/ $${1} XVERP } }",
    "smtpd_authorized_verp_clients": "127.0.0.1",
}


@pytest.fixture(scope="module")
def site():
    with workspace() as folder:
        large = {"message_size_limit": "50000000"}
        with Site(folder, STREAMS, settings={"hard": "1"}, main=large, services=()) as site:
            site.configure('store_timeout = "60s"', 'store_timeout = "2s"')
            site.start("serve")
            yield site


def events_of(site, address, count=1):
    """The events of an address, once there are `count`."""

    def found():
        events = [event for event in site.events() if event.get("address") == address]
        return events if len(events) >= count else None

    return wait_until(found, what=f"{count} events of {address}")


def stamped_sender(site, to, sender="news@example.com"):
    assert site.send(sender, to).accepted
    return site.destination.wait_to(to).sender


@pytest.mark.parametrize(
    ("who", "kind", "type_", "status"),
    [
        ("gone", "bounce", "hard", "5.1.1"),
        ("full", "bounce", "soft", "5.2.2"),
        ("blocked", "bounce", "hard", "5.7.1"),
        ("later", "bounce", "hard", None),
        ("slow", "delayed", None, None),
        ("away", "autoreply", None, None),
    ],
)
def test_what_comes_back_is_recorded_at_the_address_that_it_was_sent_to(site, who, kind, type_, status):
    """By the servers' own reports: refused at once, late, delayed, and on holiday."""
    to = f"{who}+way@example.net"
    assert site.send("news@example.com", to, headers={"Retour-Tag": f"c-{who}"}).accepted
    (event,) = events_of(site, to)
    assert (event["kind"], event.get("type"), event["stream"], event["proof"]) == (kind, type_, "news", "signed")
    assert event["tag"] == f"c-{who}"
    if status:
        assert event["status"] == status


def test_the_threshold_suppresses_and_the_next_mail_is_refused(site):
    """`hard = 1` in this configuration; the 550 names cause and date."""
    site.send("news@example.com", "gone+again@example.net")
    events_of(site, "gone+again@example.net")
    refusal = site.send("news@example.com", "gone+again@example.net").reply_to("RCPT")
    assert refusal.code == 550
    assert re.search(r"hard bounces \(5\.1\.1 userunknown\), since \d{4}-\d\d-\d\d", refusal.text)


def test_a_forged_bounce_is_refused_by_postfix_at_rcpt(site):
    """Before it is queued, so that nobody has to answer the forger's victim."""
    sender = stamped_sender(site, "ok+forge@example.net")
    forged = sender[:31] + ("a" if sender[31] != "a" else "b") + sender[32:]
    assert site.send_from_outside("<>", forged).reply_to("RCPT").code == 550
    assert site.send_from_outside("<>", sender.upper()).accepted


def report(to, sender, lines=(), original="Subject: x"):
    message = hard_bounce(to, header=f"To: <{sender}>\n", text="\n".join(lines), returned=original)
    return "\r\n".join(message.splitlines()) + "\r\n"


def hand_in(site, recipient, message, options=()):
    with smtplib.SMTP(HERE, site.postfix.smtp_port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail("", options)
        assert client.rcpt(recipient)[0] == 250
        assert client.data(message)[0] == 250


@pytest.mark.parametrize(
    ("name", "lines", "original"),
    [
        ("large", [], "Subject: x\r\n\r\n" + ("x" * 998 + "\r\n") * 30_000),
        ("long", ["x" * 100_000, "y" * 100_000], "Subject: x"),
        ("utf8", ["Der Empfänger ist unbekannt: 受信者が見つかりません"], "Subject: Grüße"),
    ],
)
def test_no_report_is_lost_for_its_size_its_lines_or_its_letters(site, name, lines, original):
    """30 MB, lines of 100 kB, UTF-8: each comes through Postfix and is recorded."""
    to = f"ok+{name}@example.net"
    sender = stamped_sender(site, to)
    hand_in(site, sender, report(to, sender, lines, original).encode(), ["BODY=8BITMIME", "SMTPUTF8"])
    (event,) = events_of(site, to)
    assert (event["kind"], event["status"]) == ("bounce", "5.1.1")
    site.postfix.wait_queue_empty()


@pytest.mark.sqlite
def test_while_the_store_is_down_reports_wait_in_the_queue(site):
    """Postfix keeps what heard 451, and delivers it afterwards; it is counted once."""
    to = "ok+wait@example.net"
    sender = stamped_sender(site, to)
    with (site.home / "retour.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hand_in(site, sender, report(to, sender).encode())
        site.postfix.wait_for_log(rf"to=<{sender}>.*status=deferred \(host .* said: 451 4\.3\.0 try again later")
    site.postfix.wait_deferred(1)
    site.postfix.flush()
    assert len(events_of(site, to)) == 1
    site.postfix.wait_queue_empty()


def test_a_report_to_a_static_sender_is_known_by_our_reference(site):
    """The returned header carries Retour-Ref; the proof is corroborated."""
    site.send("static@example.com", "gone+static@example.net")
    (event,) = events_of(site, "gone+static@example.net")
    assert (event["stream"], event["proof"], event["type"]) == ("static", "corroborated", "hard")
    assert event["delivered_to"] == "returns@bounces.example.com"


def test_what_nothing_matches_reaches_postmaster(site):
    """A person's answer to the envelope sender, and mail to postmaster@ of the bounce domain."""
    sender = stamped_sender(site, "ok+human@example.net")
    site.send_from_outside("ann@example.org", sender, headers={"Subject": "Re: your news"}, body="Hello!")
    site.send_from_outside("ann@example.org", "postmaster@bounces.example.com", headers={"Subject": "a question"})
    for subject in ("Re: your news", "a question"):
        arrived = site.destination.wait_for(
            lambda m, subject=subject: "postmaster@example.net" in m.recipients and subject.encode() in m.content
        )
        assert arrived.sender == ""
        assert arrived.headers("Auto-Submitted") == ["auto-generated"]
        assert "message/rfc822" in arrived.content.decode()


def test_one_failure_among_several_recipients_is_the_right_ones(site):
    """The report names the recipient; the token is shared, so one failure does not count yet."""
    site.send("news@example.com", ["ok+several@example.net", "gone+several@example.net"])
    (event,) = events_of(site, "gone+several@example.net")
    assert event["proof"] == "shared"
    shown = site.retour("address", "show", "gone+several@example.net").stdout
    assert "suppressed    no" in shown
    assert "counts when another send fails too" in shown
    assert site.retour("address", "show", "ok+several@example.net", "--json").stdout.count('"kind"') == 0


def test_a_second_failed_send_makes_shared_proof_count(site):
    """Two different sends: both count, and the threshold is passed."""
    for _ in range(2):
        site.send("news@example.com", ["ok+pair@example.net", "gone+pair@example.net"])
    events_of(site, "gone+pair@example.net", 2)
    assert site.send("news@example.com", "gone+pair@example.net").reply_to("RCPT").code == 550


def test_postfix_xverp_gives_each_recipient_a_sender_of_its_own():
    """The part behind the token tells whose report it is even where the report names nobody."""
    with workspace() as folder:
        streams = STREAMS.replace("news@example.com", "xverp@example.com")
        with Site(folder, streams, main=XVERP) as site:
            both = ["ok+x1@example.net", "ok+x2@example.net"]
            assert site.send("xverp@example.com", both).accepted
            senders = {site.destination.wait_to(to).sender for to in both}
            assert len(senders) == 2
            sender = site.destination.wait_to(both[1]).sender
            assert re.fullmatch(r"b-[a-z2-7]{30}\+ok\+x2=example\.net@bounces\.example\.com", sender)
            hand_in(
                site,
                sender,
                b"From: x2@example.net\r\nSubject: Auto: away\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n",
            )
            (event,) = events_of(site, both[1])
            assert (event["kind"], event["proof"]) == ("autoreply", "shared")
