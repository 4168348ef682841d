"""The milter on a real Postfix: whom it serves, what it stamps, whom it refuses."""

import re
import smtplib

import pytest

from lab.process import workspace
from lab.site import OUTSIDER, Site

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
headers = { Feedback-ID = "{tag}:{stream}", X-To = "{recipient}", X-Gone = false }

[[stream]]
name = "drops"
match = { sender = ["drops@example.com"] }
envelope_from = "b-%@bounces.example.com"
suppressed = "drop"

[[stream]]
name = "single"
match = { sender = ["single@example.com"] }
envelope_from = "b-%@bounces.example.com"
multi_recipient = "refuse"

[[stream]]
name = "bare"
match = { sender = ["bare@example.com"] }
envelope_from = "b-%@bounces.example.com"
headers = false

[[stream]]
name = "author"
match = { sender = ["author@example.com"] }
envelope_from = "header-from"

[[stream]]
name = "unrecorded"
match = { sender = ["unrecorded@example.com"] }
envelope_from = "b-%@bounces.example.com"
track = false

[[stream]]
name = "passing"
match = { sender = ["passing@example.com"] }
envelope_from = "b-%@bounces.example.com"
suppressed = "pass"

[[stream]]
name = "login"
match = { login = ["billing"] }
envelope_from = "bounces@bounces.example.com"

[[stream]]
name = "by-header"
match = { header = { X-Stream = "by-header" } }
envelope_from = "b-%@bounces.example.com"
"""
VERP = re.compile(r"b-[a-z2-7]{30}@bounces\.example\.com")


@pytest.fixture(scope="module")
def site():
    with workspace() as folder, Site(folder, STREAMS, users={"billing": "secret"}, inbound=["example.org"]) as site:
        yield site


@pytest.fixture(scope="module")
def suppressed(site):
    """An address that nobody in any stream may write to."""
    assert site.retour("suppressions", "add", "ok+away@example.net", "--note", "asked by phone").returncode == 0
    return "ok+away@example.net"


def sends(site, address):
    found = site.retour("address", "show", address, "--json")
    return site.json("address", "show", address)[0]["sends"] if found.returncode == 0 else 0


def test_a_message_gets_sender_headers_and_record(site):
    """The stream's pattern, its headers with placeholders filled in, and a send record that the token names."""
    headers = {"Retour-Tag": "c-17", "X-Gone": "x", "Feedback-ID": "old"}
    assert site.send("news@example.com", "ok+one@example.net", headers=headers).accepted
    arrived = site.destination.wait_to("ok+one@example.net")
    assert VERP.fullmatch(arrived.sender)
    assert arrived.headers("Feedback-ID") == ["c-17:news"]
    assert arrived.headers("X-To") == ["ok+one@example.net"]
    assert arrived.headers("X-Gone") == arrived.headers("Retour-Tag") == []
    (read,) = site.json("token", "read", arrived.sender)
    assert (read["stream"], read["recipients"], read["tag"]) == ("news", 1, "c-17")
    (reference,) = site.json("token", "read", arrived.headers("Retour-Ref")[0])
    assert reference["id"] == read["id"]


def test_a_tag_that_cannot_stand_in_a_header_is_left_off_and_logged(site):
    """The field that would have held it, and the tag itself, do not reach the recipient."""
    to = "ok+folded@example.net"
    assert site.send("news@example.com", to, headers={"Retour-Tag": "a\n Bcc: eve@example.net"}).accepted
    arrived = site.destination.wait_to(to)
    assert arrived.headers("Feedback-ID") == arrived.headers("Retour-Tag") == arrived.headers("Bcc") == []
    assert arrived.headers("X-To") == [to]
    site.services["serve"].wait_for_log(r"header fields omitted.*Feedback-ID")


@pytest.mark.parametrize(
    ("stream", "sender"),
    [
        ("bare", VERP),
        ("author", re.compile(r"ann@example\.com")),
        ("unrecorded", VERP),
        ("by-header", VERP),
    ],
)
def test_each_kind_of_sender(site, stream, sender):
    """VERP without headers, the From field's address, VERP without a record, a stream known by its header."""
    to = f"ok+{stream}@example.net"
    headers = {"From": "Ann <ann@example.com>", "X-Stream": stream}
    assert site.send(f"{stream}@example.com", to, headers=headers).accepted
    arrived = site.destination.wait_to(to)
    assert sender.fullmatch(arrived.sender)
    assert len(arrived.headers("Retour-Ref")) == (0 if stream == "bare" else 1)
    assert sends(site, to) == (0 if stream == "unrecorded" else 1)


@pytest.mark.parametrize("author", ["Ann <>", "x@", "Änne <ä@example.com>"])
def test_an_author_that_cannot_be_an_envelope_sender_changes_nothing(site, author):
    """No address, or one that needs SMTPUTF8 where the message does without: the sender stays."""
    to = f"ok+author-{len(author)}@example.net"
    assert site.send("author@example.com", to, headers={"From": author}).accepted
    assert site.destination.wait_to(to).sender == "author@example.com"


def test_a_login_is_served_wherever_it_comes_from(site):
    """A SASL login makes the stream, from an address that is not trusted too; the sender is the static one."""
    result = site.send_from_outside("any@example.com", "ok+login@example.net", login=("billing", "secret"))
    assert result.accepted
    assert site.destination.wait_to("ok+login@example.net").sender == "bounces@bounces.example.com"


def test_an_outsider_who_forges_a_sender_gets_no_stamp_no_record_and_no_550(site):
    """Or anyone could have senders stamped, and read the suppression list out."""
    site.retour("suppressions", "add", "ok+listed@example.org")
    assert site.send("news@example.com", "ok+listed@example.org").reply_to("RCPT").code == 550
    result = site.send_from_outside("news@example.com", "ok+listed@example.org")
    assert result.accepted
    arrived = site.destination.wait_to("ok+listed@example.org")
    assert arrived.sender == "news@example.com"
    assert arrived.headers("Retour-Ref") == []
    assert sends(site, "ok+listed@example.org") == 0


def test_an_outsider_without_angle_brackets_is_not_taken_for_sendmail(site):
    """sendmail(1) mail is known by the address that Postfix gives it, not by what a client could write."""
    with smtplib.SMTP("127.0.0.1", site.postfix.smtp_port, source_address=(OUTSIDER, 0)) as client:
        client.ehlo()
        assert client.docmd("MAIL", "FROM:news@example.com")[0] == 250
        assert client.docmd("RCPT", "TO:ok+bracket@example.org")[0] == 250
        assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    assert site.destination.wait_to("ok+bracket@example.org").sender == "news@example.com"


def test_the_null_sender_is_never_touched(site):
    """A bounce of the host itself must stay one."""
    assert site.send("<>", "ok+null@example.net", headers={"X-Stream": "by-header"}).accepted
    arrived = site.destination.wait_to("ok+null@example.net")
    assert (arrived.sender, arrived.headers("Retour-Ref")) == ("", [])


def test_what_carries_a_stamp_of_ours_is_not_stamped_again(site):
    """By its envelope sender or by its Retour-Ref, where they verify; a forged reference changes nothing."""
    site.send("news@example.com", "ok+first@example.net")
    first = site.destination.wait_to("ok+first@example.net")
    site.send(first.sender, "ok+second@example.net", headers={"X-Stream": "by-header"})
    assert site.destination.wait_to("ok+second@example.net").sender == first.sender
    reference = first.headers("Retour-Ref")[0]
    site.send("news@example.com", "ok+third@example.net", headers={"Retour-Ref": reference})
    assert site.destination.wait_to("ok+third@example.net").sender == "news@example.com"
    forged = reference[:-1] + ("a" if reference[-1] != "a" else "b")
    site.send("news@example.com", "ok+fourth@example.net", headers={"Retour-Ref": forged})
    fourth = site.destination.wait_to("ok+fourth@example.net")
    assert VERP.fullmatch(fourth.sender)
    assert forged not in fourth.headers("Retour-Ref")


def test_without_a_stream_mail_passes_untouched(site):
    """Nothing matches, nothing changes."""
    site.send("someone@example.com", "ok+none@example.net")
    arrived = site.destination.wait_to("ok+none@example.net")
    assert (arrived.sender, arrived.headers("Retour-Ref")) == ("someone@example.com", [])


WAYS = [("smtp", "envelope"), ("smtp", "header"), ("sendmail", "envelope"), ("sendmail", "header")]


@pytest.mark.parametrize(("way", "known_by"), WAYS)
def test_the_good_recipient_always_gets_the_mail(site, suppressed, way, known_by):
    """One good and one suppressed recipient: refused at RCPT where that hurts nobody, else taken off."""
    good = f"ok+{way}-{known_by}@example.net"
    sender = "news@example.com" if known_by == "envelope" else "someone@example.com"
    headers = {"X-Stream": "by-header"} if known_by == "header" else {}
    if way == "smtp":
        result = site.send(sender, [suppressed, good], headers=headers)
        refused = [reply.code for reply in result.replies if reply.code == 550]
        assert refused == ([550] if known_by == "envelope" else [])
    else:
        lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
        site.postfix.sendmail(f"Subject: x\n{lines}\nx\n".encode(), to=[suppressed, good], from_=sender)
    arrived = site.destination.wait_to(good)
    assert VERP.fullmatch(arrived.sender)
    assert arrived.recipients == (good,)
    withheld = [event for event in site.events("--kind", "withheld") if event["address"] == suppressed]
    site.postfix.wait_queue_empty()
    assert not [m for m in site.destination.arrived if suppressed in m.recipients and m.sender != "passing@example.com"]
    if (way, known_by) != ("smtp", "envelope"):
        assert "asked by phone" in withheld[-1]["cause"]


@pytest.mark.parametrize(("way", "known_by"), WAYS)
def test_when_nobody_is_left_smtp_hears_550_and_sendmail_leaves_nothing_behind(site, suppressed, way, known_by):
    """A refusal would keep mail from sendmail(1) in the queue until it expires."""
    sender = "news@example.com" if known_by == "envelope" else "someone@example.com"
    headers = {"X-Stream": "by-header"} if known_by == "header" else {}
    before = len(site.destination.arrived)
    if way == "smtp":
        result = site.send(sender, suppressed, headers=headers)
        step = "RCPT" if known_by == "envelope" else "."
        assert "asked by phone" in str(result.reply_to(step).text if step == "RCPT" else result.transcript)
        assert 550 in result.codes
    else:
        lines = "".join(f"{name}: {value}\n" for name, value in headers.items())
        site.postfix.sendmail(f"Subject: x\n{lines}\nx\n".encode(), to=[suppressed], from_=sender)
        site.postfix.wait_for_log(r"milter-discard")
    site.postfix.wait_queue_empty()
    assert list((site.postfix.queue_directory / "maildrop").iterdir()) == []
    assert len(site.destination.arrived) == before


def test_drop_takes_suppressed_recipients_off_without_a_word(site, suppressed):
    """The client gets 250 for both; only the good one gets the mail."""
    result = site.send("drops@example.com", [suppressed, "ok+drop@example.net"])
    assert result.accepted
    assert 550 not in result.codes
    assert site.destination.wait_to("ok+drop@example.net").recipients == ("ok+drop@example.net",)


def test_pass_lets_suppressed_recipients_have_their_mail(site, suppressed):
    """For mail that must arrive whatever happened before."""
    assert site.send("passing@example.com", suppressed).accepted
    assert VERP.fullmatch(site.destination.wait_to(suppressed).sender)


def test_several_recipients_share_a_token_and_get_no_personal_header(site):
    """One envelope sender a message is all a milter has."""
    both = ["ok+shared1@example.net", "ok+shared2@example.net"]
    assert site.send("news@example.com", both).accepted
    arrived = site.destination.wait_to(both[0])
    assert arrived.headers("X-To") == []
    (read,) = site.json("token", "read", arrived.sender)
    assert read["recipients"] == 2


def test_a_stream_can_refuse_the_second_recipient(site):
    """452 4.5.3, on which clients send the rest in a message of its own."""
    result = site.send("single@example.com", ["ok+first1@example.net", "ok+first2@example.net"])
    assert [reply.code for reply in result.replies].count(452) == 1
    assert site.destination.wait_to("ok+first1@example.net").recipients == ("ok+first1@example.net",)


def test_a_suppression_in_one_stream_leaves_the_others(site):
    """Scopes: a stream, or everywhere."""
    site.retour("suppressions", "add", "ok+scope@example.net", "--scope", "news")
    assert site.send("news@example.com", "ok+scope@example.net").reply_to("RCPT").code == 550
    assert site.send("bare@example.com", "ok+scope@example.net").accepted


def test_addresses_are_compared_as_mail_servers_do(site, suppressed):
    """In any case, and the domain in its A-label form."""
    assert site.send("news@example.com", "OK+Away@Example.NET").reply_to("RCPT").code == 550
