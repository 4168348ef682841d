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
name = "fixed"
match = { sender = ["fixed@example.com"] }
envelope_from = "static@bounces.example.com"

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


def got(site, address):
    """The messages that reached an address, other than those of the stream that lets everything pass."""
    return [m for m in site.destination.arrived if address in m.recipients and not m.headers("X-Passing")]


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


def test_what_has_a_verp_address_of_ours_is_not_stamped_again(site):
    """A filter that hands it back, and a redirect: the token stays, so that what comes back finds the send."""
    site.send("news@example.com", "ok+first@example.net")
    first = site.destination.wait_to("ok+first@example.net")
    for to in ("ok+first@example.net", "ok+second@example.net"):
        site.send(first.sender, to, headers={"X-Stream": "by-header", "X-Again": "1"})
        again = site.destination.wait_for(lambda m, to=to: to in m.recipients and m.headers("X-Again"))
        assert (again.sender, again.headers("Retour-Ref")) == (first.sender, [])


@pytest.mark.parametrize("way", ["smtp", "sendmail"])
def test_a_verp_address_of_ours_is_no_way_to_suppressed_recipients(site, suppressed, way):
    """Whoever the send did not go to is looked up as for any mail of its stream; who it went to gets it."""
    to = f"ok+verp-{way}@example.net"
    site.send("news@example.com", to)
    sender = site.destination.wait_to(to).sender
    if way == "smtp":
        assert site.send(sender, suppressed).reply_to("RCPT").code == 550
        site.send(sender, [suppressed, to], headers={"X-Again": "1"})
    else:
        site.postfix.sendmail(b"X-Again: 1\n\nx\n", to=[suppressed, to], from_=sender)
    again = site.destination.wait_for(lambda m: to in m.recipients and m.headers("X-Again"))
    assert (again.sender, again.recipients) == (sender, (to,))
    site.postfix.wait_queue_empty()
    assert not got(site, suppressed)


def test_who_is_suppressed_since_still_gets_the_send_that_comes_by_again(site):
    """A send that was let go is let go again: else a filter behind us would cost the one message that may try."""
    to = "ok+since@example.net"
    site.send("news@example.com", to)
    sender = site.destination.wait_to(to).sender
    site.retour("suppressions", "add", to)
    assert site.send(sender, to, headers={"X-Again": "1"}).accepted
    assert site.destination.wait_for(lambda m: to in m.recipients and m.headers("X-Again")).sender == sender


def test_a_verp_address_without_a_record_is_stamped_anew(site):
    """Of a stream that records nothing, or after a purge: nothing shows that it is a message on its way."""
    site.send("unrecorded@example.com", "ok+norecord@example.net")
    first = site.destination.wait_to("ok+norecord@example.net").sender
    site.send(first, "ok+norecord2@example.net")
    second = site.destination.wait_to("ok+norecord2@example.net").sender
    assert VERP.fullmatch(second) and second != first


@pytest.fixture(scope="module")
def copied(site):
    """The genuine Retour-Ref of a message of the static stream `fixed` that somebody got."""
    assert site.send("fixed@example.com", "ok+reader@example.net").accepted
    arrived = site.destination.wait_to("ok+reader@example.net")
    assert arrived.sender == "static@bounces.example.com"
    return arrived.headers("Retour-Ref")[0]


@pytest.mark.parametrize(
    ("what", "sender", "headers"),
    [
        ("forwarded", "news@example.com", {}),
        ("edited as new in its own stream", "fixed@example.com", {}),
        ("redirected by a sieve script that writes as we do", "static@bounces.example.com", {"X-Stream": "by-header"}),
        ("posted to a list", "list-bounces@lists.example.com", {"X-Stream": "by-header", "List-Id": "<l.example>"}),
    ],
)
def test_a_copied_reference_switches_nothing_off(site, suppressed, copied, what, sender, headers):
    """It travels with content: all of them go, the message is stamped and recorded anew, the suppressed get nothing."""
    to = f"ok+copied{len(what)}@example.net"
    result = site.send(sender, [suppressed, to], headers=headers | {"Retour-Ref": copied})
    arrived = site.destination.wait_to(to)
    assert arrived.sender != sender or sender == "static@bounces.example.com"
    (reference,) = arrived.headers("Retour-Ref")
    assert reference != copied
    assert arrived.recipients == (to,)
    assert sends(site, to) == 1, result.transcript
    site.postfix.wait_queue_empty()
    assert not got(site, suppressed)


def test_a_forged_reference_is_replaced(site):
    """As any field of that name is."""
    forged = "a" * 30
    site.send("news@example.com", "ok+forged@example.net", headers={"Retour-Ref": forged})
    arrived = site.destination.wait_to("ok+forged@example.net")
    assert VERP.fullmatch(arrived.sender)
    assert forged not in arrived.headers("Retour-Ref")


def test_a_send_that_a_content_filter_hands_back_is_let_go(site):
    """Its sender and its recipients are those on record: no second send, no second reference, all of them or some."""
    both = ["ok+filter1@example.net", "ok+filter2@example.net"]
    assert site.send("fixed@example.com", both).accepted
    first = site.destination.wait_to(both[0])
    headers = {"X-Stream": "by-header", "Retour-Ref": first.headers("Retour-Ref")[0], "X-Filtered": "1"}
    for to in (both, both[:1]):
        site.send(first.sender, to, headers=headers)
        again = site.destination.wait_for(lambda m, to=to: m.recipients == tuple(to) and m.headers("X-Filtered"))
        assert (again.sender, again.headers("Retour-Ref")) == (first.sender, first.headers("Retour-Ref"))
    assert [sends(site, one) for one in both] == [1, 1]
    site.send(first.sender, [*both, "ok+third@example.net"], headers=headers)
    third = site.destination.wait_to("ok+third@example.net")
    assert third.headers("Retour-Ref") != first.headers("Retour-Ref")


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
    assert not got(site, suppressed)
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
    assert site.send("passing@example.com", suppressed, headers={"X-Passing": "1"}).accepted
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
