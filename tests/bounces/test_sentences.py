"""Sentences: a denial needs its subject and its predicate; nouns, links and names between words are neither."""

from __future__ import annotations

import pytest

from retour_bounces import Rules, judge, read
from retour_bounces.report import RecipientReport

NOT_THE_RECIPIENT = """
550 destination mailbox server is down
550 the mailbox for bob@example.com only takes signed mail
550 Several matches found in Domino Directory
550 5.1.4 recipient name bob is ambiguous
554 5.4.6 the address book of this gateway is being rebuilt, internal error
550 RCPT (third of 20) came too fast
550 verify failed at the gateway, contact your postmaster
unable to find next hop for recipient domain example.com
554 5.4.0 could not find a gateway for the domain of the recipient
550 5.4.4 cannot find route to recipient domain
550 cannot find the address of the recipient's mail server
553-Message filtered. Please see the FAQs section on spam
550 Message filtered. Refer to the Troubleshooting page (#5.7.1)
550 5.7.1 Your mail was filtered
554 your email has been filtered by our gateway
550 not on our whitelist
550 our policy has changed to refuse such mail
550-5.7.1 Email quota exceeded.
550 Rejected by the recipient's mail system
550 the object does not exist, please contact us
550 the relay is disabled, contact support
""".strip().splitlines()


@pytest.mark.parametrize("reply", NOT_THE_RECIPIENT)
def test_a_noun_alone_denies_nobody(reply: str) -> None:
    """A reply that names a mailbox, an address book or a filter, and says something else of it, blames no recipient."""
    said = judge(reply)
    assert said.blame != "recipient" and said.reason not in ("userunknown", "hostunknown", "mailboxfull", "filtered")


@pytest.mark.parametrize(
    "link",
    [
        "https://example.net/user-unknown",
        "http://www.example.net/Whitelist.aspx?IP=192.0.2.1",
        "https://help.example.net/mailbox_full.html",
        "www.example.net/no-such-user",
        "help.example.net/errors/account-closed?code=5",
        "<https://example.net/recipient-not-found>",
        "http:// help.example.net/quota-exceeded",
        "https://example.net/#mailbox-disabled",
    ],
)
@pytest.mark.parametrize("words", ["550 Your server requires confirmation, see {}", "554 5.7.1 {}", "550 Refused ({})"])
def test_the_name_of_a_page_says_nothing_about_the_recipient(words: str, link: str) -> None:
    """No rule that blames the recipient looks into a link."""
    assert judge(words.format(link)).blame != "recipient"


def test_a_link_still_tells_which_list_refused_the_sender() -> None:
    """Rules that blame others do look into links: many a reply says no more."""
    assert judge("554 https://www.spamhaus.org/query/ip/192.0.2.1").reason == "blocked"


def test_a_link_does_not_hide_the_words_around_it() -> None:
    """What stands outside the link is read."""
    said = judge("550 5.2.2 see https://example.net/help-1 mailbox full https://example.net/help-2")
    assert (said.reason, said.evidence) == ("mailboxfull", "mailbox full")


def test_no_rule_that_blames_the_recipient_sees_links() -> None:
    """It is so for each of the bundled rules, by what the rule itself or its reason says."""
    wrong = [rule.name for rule in Rules.bundled().rules if rule.sees_links and rule.blame == "recipient"]
    assert wrong == []


NAMES = [
    "bob@example.com",
    "<bob@example.com>",
    "of bob@example.com",
    "for <bob@example.com>",
    '"bob@example.com"',
    "<bob>",
    '"bob"',
    "of 'bob'",
    "<a.very.long.name.of.a.person@a.very.long.domain.example>",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("words", "reason", "kind", "evidence"),
    [
        ("550 mailbox {} is full", "mailboxfull", "soft", "mailbox {} is full"),
        ("551 bounced <the destination mailbox {} is full> queued", "mailboxfull", "soft", "mailbox {} is full"),
        ("552 Postfach {} ist voll", "mailboxfull", "soft", "Postfach {} ist voll"),
        ("552 the account {} is over quota", "mailboxfull", "soft", "account {} is over quota"),
        ("550 5.2.1 the mailbox {} is disabled", "suspend", "soft", "mailbox {} is disabled"),
        ("550 user {} does not exist", "userunknown", "hard", "user {} does not exist"),
        ("550 Utilisateur {} inconnu", "userunknown", "hard", "Utilisateur {} inconnu"),
    ],
)
def test_a_name_between_subject_and_predicate_does_not_hide_the_predicate(
    words: str, reason: str, kind: str, evidence: str, name: str
) -> None:
    """The mailbox of somebody is full as a mailbox is full, and the evidence is what stands in the reply."""
    said = judge(words.format(name))
    assert (said.reason, said.type) == (reason, kind)
    assert said.evidence in words.format(name) and "{}" not in said.evidence
    if said.reason == "mailboxfull":
        assert evidence.format(name).startswith(said.evidence) or said.evidence in evidence.format(name)


@pytest.mark.parametrize("before", ["generated from", "sent by", "a message to", "delivered with"])
def test_a_name_behind_a_preposition_belongs_to_it(before: str) -> None:
    """What stands before and behind such a name is no sentence: no subject is taken from one half."""
    said = judge(f"550 ({before} us@example.org) address unknown")
    assert (said.reason, said.blame) == ("userunknown", "recipient")


SAYS_OTHERWISE = [
    ("sender", "550 5.1.1 Access denied, IP listed"),
    ("sender", "550 5.1.1 <bob@example.com>: Access denied, your IP is listed"),
    ("network", "550 5.1.1 Internal error"),
    ("network", "550 5.1.1 internal server error, mailbox store"),
    ("sender", "550 5.1.1 <us@example.org>: unauthorized sender"),
    ("sender", "550 5.1.1 Sender <us@example.org> is not allowed to use this address"),
    ("sender", "550 5.1.1 sender us@example.org not authorized for this recipient"),
    ("sender", "550 5.1.1 Recipient address: you are not allowed to send to it"),
    ("sender", "550 5.1.1 user policy does not permit this message"),
    ("content", "550 5.1.1 the user's filter took your message for spam"),
    ("sender", "550 5.1.1 authentication required before mail for this address"),
    ("network", "550 5.1.1 recipient: too many connections"),
]  # fmt: skip


@pytest.mark.parametrize(("blame", "reply"), SAYS_OTHERWISE)
def test_words_that_say_otherwise_are_believed_before_the_code(blame: str, reply: str) -> None:
    """5.1.1 beside words that name another cause is no unknown user."""
    said = judge(reply)
    assert (said.blame, said.reason == "userunknown") == (blame, False)


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 MXIN501 mailbox",
        "550 5.1.1 <bob@example.com>: this mailbox is gone",
        "550 5.1.1 User unknown; see our policy at https://example.net/ip-policy",
        "550 5.1.1 no",
    ],
)
def test_the_code_holds_where_the_words_name_no_other_cause(reply: str) -> None:
    """5.1.1 beside thin words is an unknown user."""
    assert judge(reply).reason == "userunknown"


@pytest.mark.parametrize(
    "behind",
    [
        "503 5.5.1 no valid recipients",
        "554 5.5.1 Error: no valid recipients",
        "503 5.5.1 Error: need RCPT command",
        "503 5.0.0 Need RCPT (recipient)",
        "503 Valid RCPT command must precede DATA",
        "503 5.5.2 Need rcpt command",
        "503 RCPT first (#5.5.1)",
        "503 Bad sequence of commands",
        "503 All recipients are invalid",
    ],
)
@pytest.mark.parametrize(
    ("reply", "reason", "status"),
    [
        ("550 5.2.2 mailbox full", "mailboxfull", "5.2.2"),
        ("550 Access denied by our filter, sorry", "policyviolation", "5.7.1"),
        ("550 5.1.1 User unknown", "userunknown", "5.1.1"),
        ("554 5.7.1 Client host [192.0.2.1] blocked using bl.example", "blocked", "5.7.1"),
        ("450 4.2.0 Greylisted", "ratelimited", "4.2.0"),
    ],
)
def test_what_follows_from_a_refusal_is_not_its_cause(reply: str, reason: str, status: str, behind: str) -> None:
    """That no recipient was left at DATA says nothing behind the reply that refused the recipient."""
    said = judge(f"{reply} {behind}")
    assert (said.reason, said.status) == (reason, status)


def test_what_follows_is_read_where_it_stands_alone() -> None:
    """Alone it is all there is: of Postfix that nobody was left, of others that the recipients are invalid."""
    assert judge("554 5.5.1 Error: no valid recipients").reason == "syntaxerror"
    assert judge("503 All recipients are invalid").reason == "userunknown"


GONE = """
550 5.2.1 account closed
550 5.2.1 The mailbox has been deleted
550 5.2.1 <bob@example.com> this account was discontinued
550 5.2.1 bob's account was cancelled by its owner
550 5.2.1 this user was removed in March
550 Mailbox of <bob@example.com> has been closed
550 Das Postfach wurde gelöscht
550 Compte supprimé
550 La cuenta fue dada de baja
550 Konto zostało usunięte
550 邮箱已注销
""".strip().splitlines()


@pytest.mark.parametrize("reply", GONE)
def test_an_account_that_was_closed_is_gone(reply: str) -> None:
    """Closed, deleted and discontinued are for good, whatever 5.2.1 means elsewhere."""
    said = judge(reply)
    assert (said.type, said.reason, said.blame) == ("hard", "userunknown", "recipient")


@pytest.mark.parametrize(
    "reply", ["550 5.2.1 account disabled", "550 5.2.1 mailbox of bob is inactive", "550 5.2.1 user suspended"]
)
def test_an_account_that_is_disabled_is_as_the_table_says(reply: str) -> None:
    """5.2.1 is soft: who is disabled may come back."""
    said = judge(reply)
    assert (said.type, said.reason, said.blame) == ("soft", "suspend", "recipient")


@pytest.mark.parametrize(
    "reply",
    [
        "550 session closed",
        "554 your message was deleted",
        "550 your account has been closed",
        "550 user list closed to non-members",
        "421 4.4.2 connection for user closed",
    ],
)
def test_what_else_is_closed_or_deleted_is_nobodys_account(reply: str) -> None:
    """A session, a message or the sender's own account says nothing about the recipient."""
    assert judge(reply).blame != "recipient"


@pytest.mark.parametrize(
    "reply",
    [
        "550 Recipient rejected",
        "550 5.1.0 Recipient rejected: <bob@example.com>",
        "550 <bob@example.com>: Recipient address rejected (in reply to RCPT TO command)",
        "550 that recipient is not allowed",
        "553 recipient unrecognised",
    ],
)
def test_a_recipient_refused_without_a_cause_is_unknown(reply: str) -> None:
    """The recipient is the subject, and nothing else is named."""
    said = judge(reply)
    assert (said.type, said.reason, said.blame) == ("hard", "userunknown", "recipient")


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.7.1 Recipient rejected",
        "550 <bob@example.com>: Recipient address rejected: Please see our policy",
        "450 4.7.1 <bob@example.com>: Recipient address rejected: Policy Rejection, go away",
        "550 Recipient not allowed by sender policy",
    ],
)
def test_a_recipient_refused_for_a_cause_is_not_unknown(reply: str) -> None:
    """The cause that is named, or the code of policy, is believed."""
    assert judge(reply).blame != "recipient"


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ("mailboxfull", "554 mailbox has insufficient disk space"),
        ("mailboxfull", "552 Not enough storage space in user's mailbox to accept message"),
        ("mailboxfull", "552 the recipient's inbox: disk full"),
        ("systemfull", "452 4.3.1 Insufficient disk space"),
        ("systemfull", "452 not enough storage space on server"),
        ("systemfull", "error writing mailbox /var/mail/bob: No space left on device"),
    ],
)
def test_it_is_the_mailbox_or_the_system_that_is_full_as_the_words_say(reason: str, reply: str) -> None:
    """No room is the mailbox's where one is spoken of."""
    assert judge(reply).reason == reason


def reported(status: str, diagnostic: str, text: str) -> RecipientReport:
    """What a report with these fields and this text says about its recipient."""
    message = (
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nTo: us@example.org\nSubject: Undeliverable\n"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\nYour message could not be delivered.\n{text}\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        f"Final-Recipient: rfc822; bob@example.com\nAction: failed\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; {diagnostic}\n--b--\n"
    )
    (one,) = read(message.encode()).reports
    return one


@pytest.mark.parametrize("diagnostic", ["550 5.7.1 rejected", "550 rejected", "554 5.7.1 denied"])
@pytest.mark.parametrize(
    "text", ["The address may be misspelled or may not exist.", "Possible cause: the mailbox is full.", "user unknown?"]
)
def test_running_text_does_not_speak_against_the_field(diagnostic: str, text: str) -> None:
    """What a text supposes is no refusal where the field's code says that the sender was refused."""
    assert reported("5.7.1", diagnostic, text).blame == "sender"


def test_a_refusal_that_the_text_quotes_is_believed_beside_a_thin_field() -> None:
    """A code of its own shows that a server said it."""
    said = reported("5.7.1", "550 rejected", "<bob@example.com>: 550 5.1.1 User unknown")
    assert said.reason == "userunknown"


@pytest.mark.parametrize("diagnostic", ["503 5.5.1 no valid recipients", "554 5.5.1 Error: no valid recipients"])
def test_the_recipients_own_line_explains_a_field_that_holds_the_consequence(diagnostic: str) -> None:
    """The reply to DATA stands in the field, the recipient's refusal in the text: that is the cause."""
    own = "<bob@example.com>: host mx.example.com[192.0.2.1] said: 550 5.2.2 mailbox full (in reply to RCPT TO command)"
    said = reported("5.5.1", diagnostic, own)
    assert (said.reason, said.blame) == ("mailboxfull", "recipient")
