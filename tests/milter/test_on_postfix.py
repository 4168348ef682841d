"""The milter on a real Postfix: whom it serves, what it stamps, whom it refuses."""

import re
import smtplib
import sqlite3
from contextlib import closing

import pytest

from lab.process import workspace
from lab.reports import Failure, Original
from lab.site import OUTSIDER, Site
from lab.wait import wait_until

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
name = "kept"
match = { sender = ["kept@example.com"] }
hears_copies = "copies@bounces.example.com"

[[stream]]
name = "trying"
match = { sender = ["trying@example.com"] }
envelope_from = "b-%@bounces.example.com"
policy = { hard = 1, hard_for = "1s", pause = "0s" }

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
    completing = {"myorigin": "example.net", "mydomain": "net", "append_dot_mydomain": "yes"}
    completing |= {"mydestination": "mx.example.com"}
    options = {"users": {"billing": "secret"}, "inbound": ["example.org"], "main": completing}
    with workspace() as folder, Site(folder, STREAMS, **options) as site:
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


def wait_bounce(site, address):
    """Wait until a bounce is laid to that address (None: to nobody)."""
    wait_until(
        lambda: [one for one in site.events("--kind", "bounce") if one.get("address") == address],
        what=f"a bounce of {address}",
        seen=site.services["serve"].log,
    )


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


SPELLINGS = [
    "<OK+Away@Example.NET>",
    '<"ok+away"@example.net>',
    "<@a.example,@b.example:ok+away@example.net>",
    "<ok+away(a comment)@example.net>",
    "<ok+away@example.net >",
    "<ok+away@example.net.>",
    "<example.net!ok+away>",
    "<ok+away%example.net>",
    "<ok+away%example.net@mx.example.com>",
    "<ok+away>",
    "ok+away@example.net",
]


def dialogue(site, sender, *recipients, options=""):
    """Send a message to recipients as they are spelled; the codes of the replies to RCPT, and to the message."""
    with smtplib.SMTP("127.0.0.1", site.postfix.smtp_port, source_address=("127.0.0.1", 0)) as client:
        client.command_encoding = "utf-8"
        client.ehlo()
        assert client.docmd("MAIL", f"FROM:<{sender}> {options}".strip())[0] == 250
        codes = [client.docmd("RCPT", f"TO:{recipient}")[0] for recipient in recipients]
        return codes, client.data(b"Subject: x\r\n\r\nx\r\n")[0] if 250 in codes else 0


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_suppressed_address_is_refused_however_it_is_spelled(site, suppressed, spelling):
    """It is looked up as the mail server will use it."""
    good = f"ok+spelt{SPELLINGS.index(spelling)}@example.net"
    assert dialogue(site, "news@example.com", spelling, f"<{good}>") == ([550, 250], 250)
    assert site.destination.wait_to(good).recipients == (good,)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_and_gets_nothing_where_it_is_taken_off(site, suppressed, spelling):
    """What counts is that no mail arrives, not what the mail server was asked."""
    good = f"ok+dropped{SPELLINGS.index(spelling)}@example.net"
    assert dialogue(site, "drops@example.com", spelling, f"<{good}>") == ([250, 250], 250)
    assert site.destination.wait_to(good).recipients == (good,)
    site.postfix.wait_queue_empty()
    assert not got(site, suppressed) and not got(site, suppressed.upper())


def test_unicode_is_compared_composed(site):
    """An o with its dots apart is the same mailbox."""
    site.retour("suppressions", "add", "ok+j\u00f6rg@example.net")
    codes, _ = dialogue(site, "news@example.com", "<ok+jo\u0308rg@example.net>", options="SMTPUTF8")
    assert codes == [550]


def test_an_address_is_recorded_as_it_is_looked_up(site):
    """Or its sends would never be those of the address that a report names; upper case stays as it was written."""
    assert dialogue(site, "news@example.com", '<@a.example:"gone+As.Used"@example.net.>')[1] == 250
    recorded = "gone+As.Used@example.net"
    wait_bounce(site, recorded)


COMPLETED = [
    *("ok+away", "ok+away@example", "example.net!ok+away", "ok+away%example.net"),
    *("ok+away@example.net.", '"ok+away"@example.net'),
]


@pytest.mark.parametrize("spelling", COMPLETED)
def test_sendmail_mail_does_not_reach_who_is_withheld(site, suppressed, spelling):
    """Postfix shows the milter the address that it has completed, and removes by the one that it was given."""
    good = f"ok+completed{COMPLETED.index(spelling)}@example.net"
    site.postfix.sendmail(b"Subject: x\n\nx\n", to=[spelling, good], from_="news@example.com")
    assert site.destination.wait_to(good).recipients == (good,)
    site.postfix.wait_queue_empty()
    assert not got(site, suppressed)


@pytest.mark.parametrize(
    ("withheld", "kept"),
    [
        ("ok+same1", "ok+same1@example.org"),
        ("ok+same2@example.org", "ok+same2"),
        ("ok+same3@example.net", "ok+same3@example.org"),
    ],
)
def test_who_is_called_the_same_elsewhere_gets_the_mail_once(site, withheld, kept):
    """The name alone may be either of them: the one who stays is not removed with the other, nor served twice."""
    away, stays = (one if "@" in one else f"{one}@example.net" for one in (withheld, kept))
    site.retour("suppressions", "add", away)
    site.postfix.sendmail(b"Subject: x\n\nx\n", to=[withheld, kept], from_="news@example.com")
    site.postfix.wait_queue_empty()
    assert (len(got(site, away)), len(got(site, stays))) == (0, 1)


def test_a_report_that_names_who_was_withheld_is_laid_to_nobody_else(site, suppressed):
    """It got nothing from us, and the only recipient who did is not at fault."""
    site.send("drops@example.com", [suppressed, "ok+only@example.net"])
    sender = site.destination.wait_to("ok+only@example.net").sender
    report = f"From: MAILER-DAEMON\nSubject: failed\n\n<{suppressed}>: 550 5.1.1 user unknown\n"
    site.send_from_outside("<>", sender, data=report)
    wait_bounce(site, None)
    (found,) = [one for one in site.events("--kind", "bounce") if one.get("address") is None]
    assert found["recipient"] == suppressed


def test_who_asks_for_no_report_is_heard_all_the_same(site):
    """NOTIFY=NEVER, as nodemailer can have it, would have a dead address look like a good one. ORCPT stays."""
    to = "gone+never@example.net"
    codes = dialogue(site, "news@example.com", f"<{to}> NOTIFY=NEVER ORCPT=rfc822;gone+2Bnever@example.net")
    assert codes == ([250], 250)
    wait_bounce(site, to)
    assert sends(site, to) == 1


@pytest.mark.sqlite
def test_where_reports_go_to_the_client_its_word_counts(site):
    """A stream that leaves the sender as it is hears nothing: such a send is recorded, and is no good one."""
    to = "ok+unheard@example.net"
    assert dialogue(site, "kept@example.com", f"<{to}> NOTIFY=NEVER") == ([250], 250)
    site.destination.wait_to(to)
    assert sends(site, to) == 1
    with closing(sqlite3.connect(site.home / "retour.db")) as database:
        apart = database.execute(
            "SELECT text FROM address JOIN recipient_apart ON address_id = id WHERE why = 'unheard'"
        )
        assert apart.fetchall() == [(to,)]


def test_the_one_message_that_may_try_may_come_again_and_others_hear_451(site):
    """Nobody knows yet whether the address works: a 550 would have clients give it up. Its own retry is no other."""
    to = "ok+trial@example.net"
    site.send("trying@example.com", to)
    sender = site.destination.wait_to(to).sender
    site.send_from_outside("<>", sender, data=f"From: MAILER-DAEMON\n\n<{to}>: 550 5.1.1 user unknown\n")
    wait_bounce(site, to)
    wait_until(lambda: to not in site.retour("suppressions", "list").stdout, what="the end of the suppression")
    first, second = {"Message-Id": "<first@example.com>"}, {"Message-Id": "<second@example.com>"}
    assert site.send("trying@example.com", to, headers=first).accepted
    other = site.send("trying@example.com", to, headers=second)
    assert "451 4.7.1" in other.transcript and "one message tries" in other.transcript and 550 not in other.codes
    assert site.send("trying@example.com", to, headers=first).accepted
    assert site.send("trying@example.com", [to, "ok+beside@example.net"], headers=second).accepted
    assert site.destination.wait_to("ok+beside@example.net").recipients == ("ok+beside@example.net",)
    site.postfix.wait_queue_empty()
    assert [m.headers("Message-ID") for m in got(site, to)][1:] == [["<first@example.com>"]] * 2


def test_copies_of_reports_are_heard_where_other_software_keeps_the_reports(site):
    """They come to the address that the stream names, and lead to the send by the Retour-Ref in what they return."""
    to = "ok+copy@example.net"
    site.send("kept@example.com", to)
    arrived = site.destination.wait_to(to)
    head = arrived.content.decode().replace("\r\n", "\n").partition("\n\n")[0]
    report = Failure().compose(Original("kept@example.com", to, head, "x", "<x@example.com>"))
    result = site.send_from_outside("<>", "copies@bounces.example.com", data=report.decode().replace("\r\n", "\n"))
    assert result.accepted, result.transcript
    wait_bounce(site, to)


def test_drop_never_refuses_not_even_the_only_recipient(site, suppressed):
    """One refusal costs some clients the rest of their batch; the fact `withheld` tells."""
    before = len(site.events("--kind", "withheld"))
    result = site.send("drops@example.com", suppressed)
    assert result.accepted and 550 not in result.codes
    site.postfix.wait_queue_empty()
    assert not got(site, suppressed)
    assert len(site.events("--kind", "withheld")) == before + 1
