"""Reports with a delivery-status part: recipients, actions, status and the returned header are read."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import pytest

from retour_bounces import read
from retour_bounces.message import addresses


def report(
    *groups: str, returned: str = "Message-ID: <1@example.com>\nTo: user@example.net\nFrom: us@example.com\n"
) -> bytes:
    """A multipart/report with one group of fields a recipient."""
    status = "\n\n".join(("Reporting-MTA: dns; mx.example.com\nOriginal-Envelope-Id: env-1", *groups))
    return (
        "From: MAILER-DAEMON@mx.example.com\nTo: b-token@bounces.example.com\nSubject: Undelivered\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b1"\n\n'
        "--b1\nContent-Type: text/plain\n\nIt did not work.\n"
        f"--b1\nContent-Type: message/delivery-status\n\n{status}\n\n"
        f"--b1\nContent-Type: text/rfc822-headers\n\n{returned}\n--b1--\n"
    ).encode()


def group(recipient: str, action: str = "failed", status: str = "5.1.1", *more: str) -> str:
    """The fields of one recipient."""
    return "\n".join((f"Final-Recipient: rfc822; {recipient}", f"Action: {action}", f"Status: {status}", *more))


def test_a_refusal_of_another_recipient_is_not_this_ones() -> None:
    """Fields without words: the dialogue is about the recipient whom it names, and no other."""
    data = (
        b"From: MAILER-DAEMON@mx.example.com\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        b"--b\n\nThese failed:\n\n<anna@a.example>\n<bert@b.example>\n\n>>> RCPT TO:<anna@a.example>\n"
        b"<<< 550 5.1.1 <anna@a.example>: User unknown\n\n--b\nContent-Type: message/delivery-status\n\n"
        b"Reporting-MTA: dns; mx.example.com\n\nFinal-Recipient: rfc822; anna@a.example\nAction: failed\n\n"
        b"Final-Recipient: rfc822; bert@b.example\nAction: failed\n\n--b--\n"
    )
    assert [(one.recipient, one.reason) for one in read(data).reports] == [
        ("anna@a.example", "userunknown"),
        ("bert@b.example", None),
    ]


def test_one_failed_recipient_is_read_with_status_reason_and_blame() -> None:
    """A plain 5.1.1 report says who failed, why, and that the recipient's side is to blame."""
    found = read(report(group("user@example.net", "failed", "5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 User unknown")))
    assert found.kind == "bounce"
    (one,) = found.reports
    assert (one.recipient, one.action, one.status, one.status_source) == (
        "user@example.net",
        "failed",
        "5.1.1",
        "wire",
    )
    assert (one.type, one.reason, one.blame) == ("hard", "userunknown", "recipient")
    assert one.diagnostic == "550 5.1.1 User unknown"


@pytest.mark.parametrize("delimiter", ["--b1", " --b1"])
def test_a_recipient_whose_action_is_cut_off_has_not_failed(delimiter: str) -> None:
    """Nor where a broken delimiter leaves the fields in the text; those before keep their own."""
    whole = report(group("gone@example.net"), group("late@example.net", "delayed", "4.4.1"))
    broken = whole.replace(b"--b1\nContent-Type: message", f"{delimiter}\nContent-Type: message".encode())
    cut = broken[: broken.index(b"Action: delayed")]
    assert [(one.recipient, one.action) for one in read(cut).reports] == [("gone@example.net", "failed")]


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_an_action_that_is_no_failure_gives_the_kind_its_name(action: str) -> None:
    """Only `failed` makes a bounce."""
    found = read(report(group("user@example.net", action, "4.4.1" if action == "delayed" else "2.0.0")))
    assert found.kind == action
    assert [one.action for one in found.reports] == [action]
    assert found.reports[0].type is None


def test_mixed_fates_are_kept_apart() -> None:
    """Each recipient keeps an action of its own; one failure makes the whole a bounce."""
    found = read(
        report(
            group("a@example.net", "delivered", "2.0.0"),
            group("b@example.net"),
            group("c@example.net", "delayed", "4.2.2"),
        )
    )
    assert found.kind == "bounce"
    assert [(one.recipient, one.action) for one in found.reports] == [
        ("a@example.net", "delivered"),
        ("b@example.net", "failed"),
        ("c@example.net", "delayed"),
    ]


def test_the_returned_header_is_read() -> None:
    """Message-ID, Retour-Ref, sender, only recipient, subject and envelope id come from the report."""
    header = "Message-ID: <1@example.com>\nRetour-Ref: ref-token\nFrom: Us <us@example.com>\nTo: user@example.net\nSubject: =?utf-8?Q?Caf=C3=A9?=\n"
    original = read(report(group("user@example.net"), returned=header)).original
    assert original.message_id == "<1@example.com>"
    assert original.retour_ref == "ref-token"
    assert original.sender == "us@example.com"
    assert original.recipient == "user@example.net"
    assert original.subject == "Café"
    assert original.envelope_id == "env-1"


def test_several_to_addresses_are_no_single_recipient() -> None:
    """`original.recipient` stands only where the message went to one address."""
    assert (
        read(report(group("a@example.net"), returned="To: a@example.net, b@example.net\n")).original.recipient is None
    )


@pytest.mark.parametrize(
    ("fields", "recipient"),
    [
        ("Final-Recipient : rfc822/user@example.net\nAction : failed\nStatus : 5.1.1", "user@example.net"),
        (
            "Final-Recipient: user@example.net\nAction: Failed (bad)\nStatus: 5.1.1 (no such user)",
            "user@example.net",
        ),
        ("Final-Recipient: rfc822; <user@example.net>\nAction: failure\nStatus: 5.1.1", "user@example.net"),
        (
            "Final-Recipient: RFC822;@relay.example.org:user@example.net\nAction: failed\nStatus: 5.1.1",
            "user@example.net",
        ),
        ("Final-Recipient: utf-8; us\\x{E9}r@example.net\nAction: failed\nStatus: 5.1.1", "usér@example.net"),
        (
            "Final-Recipient: rfc822; =?utf-8?Q?us=C3=A9r?=@example.net\nAction: failed\nStatus: 5.1.1",
            "usér@example.net",
        ),
        (
            "Final-Recipient: rfc822; =?utf-8?Q?user=40example.net?=\nAction: failed\nStatus: 5.1.1",
            "user@example.net",
        ),
        (
            "Original-Recipient: rfc822;user@example.net\nFinal-Recipient: X400; /S=user/O=x/\nAction: failed\nStatus: 5.1.1",
            "user@example.net",
        ),
    ],
)
def test_broken_field_lines_are_read(fields: str, recipient: str) -> None:
    """Spaces before colons, wrong type separators, comments, brackets, routes and escapes do not hide a
    recipient."""
    found = read(report(fields))
    assert [(one.recipient, one.action, one.status) for one in found.reports] == [(recipient, "failed", "5.1.1")]


def test_recipients_without_an_empty_line_between_are_told_apart() -> None:
    """A Final-Recipient that comes again opens a new recipient."""
    found = read(report(group("a@example.net") + "\n" + group("b@example.net", "failed", "5.2.2")))
    assert [(one.recipient, one.status) for one in found.reports] == [
        ("a@example.net", "5.1.1"),
        ("b@example.net", "5.2.2"),
    ]


def test_the_address_before_forwarding_is_kept() -> None:
    """Final and original recipient both stand in the report."""
    (one,) = read(report("Original-Recipient: rfc822;old@example.com\n" + group("new@example.net"))).reports
    assert (one.recipient, one.original_recipient) == ("new@example.net", "old@example.com")


def test_an_encoded_status_part_is_read() -> None:
    """A base64 delivery-status part says the same as a plain one."""
    import base64

    plain = report(group("user@example.net"))
    head, middle, tail = plain.partition(b"Reporting-MTA")
    status, delimiter, rest = (middle + tail).partition(b"\n--b1\nContent-Type: text/rfc822-headers")
    coded = head.replace(b"message/delivery-status\n", b"message/delivery-status\nContent-Transfer-Encoding: base64\n")
    found = read(coded + base64.encodebytes(status) + delimiter + rest)
    assert [one.recipient for one in found.reports] == ["user@example.net"]


def test_a_recipient_that_is_named_twice_is_reported_once() -> None:
    """Servers repeat a recipient that several aliases led to; the first of the alike is kept, in order."""
    twice = report(group("a@example.net", "failed", "5.2.2"), group("b@example.net"), group("A@example.net"))
    assert [(one.recipient, one.status) for one in read(twice).reports] == [
        ("a@example.net", "5.2.2"),
        ("b@example.net", "5.1.1"),
    ]


def test_an_address_literal_keeps_its_brackets() -> None:
    """user@[192.0.2.1] is an address (RFC 5321 section 4.1.3); brackets around another are none of it."""
    assert addresses.tidy("<user@[192.0.2.1]>.") == "user@[192.0.2.1]"
    assert addresses.every("[user@example.com] and user@[IPv6:2001:db8::1]") == [
        "user@example.com",
        "user@[IPv6:2001:db8::1]",
    ]


@pytest.mark.parametrize("name", ["rfc822;CN=Yvonne Big/O=ACME", "x400; /G=Yvonne/S=Big/O=ACME/", ""])
def test_a_failure_of_nobody_whom_one_could_write_to_is_a_bounce_without_a_recipient(name: str) -> None:
    """Whose it is the envelope tells; what the fields say of the failure is kept."""
    fields = f"Final-Recipient: {name}\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 over quota"
    found = read(report(fields, returned="Message-ID: <1@example.com>\nTo: a@example.net, b@example.net\n"))
    (one,) = found.reports
    assert found.kind == "bounce"
    assert (one.recipient, one.action, one.reason, one.type) == (None, "failed", "mailboxfull", "soft")


EMPTY = {
    "nothing": "",
    "the server's name alone": "Reporting-MTA: dns; mx.example.com",
    "words": "This message was undeliverable due to the following reason:\n\nuser@example.net has moved",
    "a date": "Arrival-Date: Mon, 2 Mar 2026 10:00:00 +0000",
}


def parted(*bodies: str, kind: str = "message/delivery-status") -> bytes:
    """A report with several delivery-status parts."""
    parts = "".join(f"--b1\nContent-Type: {kind}\n\n{body}\n\n" for body in bodies)
    whole = report()
    start = whole.index(b"--b1\nContent-Type: message/delivery-status")
    end = whole.index(b"--b1\nContent-Type: text/rfc822-headers")
    return whole[:start] + parts.encode() + whole[end:]


@pytest.mark.parametrize("place", EMPTY)
def test_all_delivery_status_parts_are_read(place: str) -> None:
    """A server may put one before the fields that holds none, or behind them."""
    own = group("user@example.net", "failed", "5.2.2")
    for bodies in ((EMPTY[place], own), (own, EMPTY[place]), (EMPTY[place], EMPTY[place], own)):
        assert [(one.recipient, one.status) for one in read(parted(*bodies)).reports] == [("user@example.net", "5.2.2")]


def test_each_delivery_status_part_may_name_a_recipient() -> None:
    """One part for each of them is no standard, and is read."""
    found = read(parted(group("a@example.net"), group("b@example.net", "failed", "5.2.2")))
    assert [(one.recipient, one.status) for one in found.reports] == [
        ("a@example.net", "5.1.1"),
        ("b@example.net", "5.2.2"),
    ]


def test_words_in_a_part_that_is_called_delivery_status_are_words() -> None:
    """They give the reason where the fields say little."""
    said = "The message was undeliverable due to the following reason:\n\nThe mailbox is full\n\n<user@example.net>"
    (one,) = read(parted(said, group("user@example.net", "failed", "5.0.0"))).reports
    assert (one.recipient, one.reason) == ("user@example.net", "mailboxfull")


def test_fields_behind_an_empty_part_are_read_where_a_gateway_relabelled_them() -> None:
    """The type of the part that holds them may be lost."""
    data = parted("Reporting-MTA: dns; mx.example.com", group("user@example.net"))
    last = data.rindex(b"message/delivery-status")
    fields = b"application/octet-stream" + data[last + len(b"message/delivery-status") :]
    fields = fields.replace(b"\n\nFinal", b"\n\nReporting-MTA: dns; mx.example.com\n\nFinal")
    assert [one.recipient for one in read(data[:last] + fields).reports] == ["user@example.net"]


ODD = [
    "rfc822; rfc822;user@example.net",
    "rfc822;rfc822; rfc822; <user@example.net>",
    "RFC822;SMTP;user@example.net",
    "rfc822; <smtp:user@example.net>",
    "rfc822/rfc822;user@example.net",
    "utf-8; rfc822; user@example.net",
    "rfc822;;user@example.net",
    "rfc822;user@example.net;rfc822",
    "rfc822; user@example.net, user@example.net",
    'rfc822; "user@example.net"',
    "rfc822; [user@example.net]",
    "rfc822; [SMTP:user@example.net]",
    'rfc822; "User, Example" <user@example.net>',
    "rfc822; user@example.\n net",
]


@pytest.mark.parametrize("field", ODD)
def test_a_type_that_is_there_twice_and_marks_around_it_are_no_part_of_an_address(field: str) -> None:
    """In the final recipient's field and in the original one's."""
    for fields in (f"Final-Recipient: {field}\n", f"Final-Recipient: {field}\nOriginal-Recipient: {field}\n"):
        (one,) = read(report(f"{fields}Action: failed\nStatus: 5.1.1")).reports
        assert (one.recipient, one.original_recipient) in [
            ("user@example.net", None),
            ("user@example.net", "user@example.net"),
        ]


@pytest.mark.parametrize(
    "name", ["o'brien@example.net", '"first last"@example.net', "a=b/c@example.net", "u@[192.0.2.1]"]
)
def test_a_rare_address_stays_as_it_is(name: str) -> None:
    """Signs that are a part of it are not taken for marks around it."""
    assert [one.recipient for one in read(report(group(name))).reports] == [name]


@pytest.mark.parametrize("name", ["root", "<root>", "User Example", "unknown", "user@"])
def test_a_name_without_a_domain_is_no_recipient(name: str) -> None:
    """Nobody can write to it: the returned message tells who it was, else the envelope."""
    assert [one.recipient for one in read(report(group(name))).reports] == ["user@example.net"]
    several = read(report(group(name), returned="To: a@example.net, b@example.net\n"))
    assert [(one.recipient, one.reason) for one in several.reports] == [(None, "userunknown")]


def test_the_author_in_the_to_field_of_a_returned_message_is_not_the_recipient() -> None:
    """Who has many recipients hides them so; whose the failure is the envelope tells."""
    hidden = "From: News <us@example.com>\nTo: us@example.com\nMessage-ID: <1@example.com>\n"
    assert [one.recipient for one in read(report(group("User Example"), returned=hidden)).reports] == [None]
    text = "From: MAILER-DAEMON@mx.example.net\nTo: b@example.com\nSubject: Undelivered mail\n\n{}\n--- Original message:\n\n{}"
    said = "Your message could not be delivered to User Example.\n"
    assert [one.recipient for one in read(text.format(said, hidden).encode()).reports] == [None]
    assert [one.recipient for one in read(text.format(said, hidden.replace("To: us", "To: you")).encode()).reports] == [
        "you@example.com"
    ]


@pytest.mark.parametrize(
    "field",
    [
        'X-Supplementary-Info: <192.0.2.7 #5.0.0 smtp; 552 "Mailbox full">',
        "X-Supplementary-Info: mailbox full",
        "Reason: mailbox full",
        "X-Reason: smtp; 552 mailbox full",
        "X-SMTP-Response: 552 mailbox full",
        "Diagnostic-Text: mailbox full",
        "X-Error-Detail:\n mailbox full",
        "X-Reason:\nComment: mailbox full",
        "Diagnostic-Code: smtp;\nReason: mailbox full",
        "Diagnostic-Code: smtp; 554 failed\nReason: mailbox full",
    ],
)
def test_the_reason_may_stand_in_a_field_of_another_name(field: str) -> None:
    """It is read where Diagnostic-Code is missing or says nothing."""
    (one,) = read(report(group("user@example.net", "failed", "5.0.0", field))).reports
    assert (one.reason, one.type, one.blame) == ("mailboxfull", "soft", "recipient")
    assert "<" not in one.diagnostic


@pytest.mark.parametrize(
    "field", ["X-Display-Name: User unknown", "Remote-MTA: dns; user unknown", "X-Title: mailbox full"]
)
def test_a_field_of_another_purpose_gives_no_reason(field: str) -> None:
    """What it holds is somebody's name or title."""
    (one,) = read(report(group("user@example.net", "failed", "5.0.0", field))).reports
    assert (one.reason, one.blame) == (None, "nobody")


def test_the_diagnostic_code_is_believed_before_other_fields() -> None:
    """What the standard's own field says needs no other."""
    fields = ("Reason: user unknown", "Diagnostic-Code: smtp; 552 5.2.2 mailbox full")
    assert [one.reason for one in read(report(group("user@example.net", "failed", "5.0.0", *fields))).reports] == [
        "mailboxfull"
    ]


@pytest.mark.parametrize(
    ("code", "said", "status", "reason", "kind"),
    [
        ("67", "5.0.0", "5.1.1", "userunknown", "hard"),
        ("67", "5.1.1", "5.1.1", "userunknown", "hard"),
        ("68", "5.3.0", "5.1.2", "hostunknown", "hard"),
        ("75", "5.0.0", "4.3.0", "mailererror", "soft"),
        ("75", "4.2.0", "4.2.0", "mailererror", "soft"),
        ("69", "5.3.0", "5.3.0", "mailererror", "hard"),
        ("1", "5.3.0", "5.3.0", "mailererror", "hard"),
    ],
)
def test_an_exit_code_means_what_sysexits_says(code: str, said: str, status: str, reason: str, kind: str) -> None:
    """67 is an unknown user, 68 an unknown host, 75 a failure for now; any other says that a program failed."""
    field = f"Diagnostic-Code: X-Unix; {code}"
    (one,) = read(report(group("user@example.net", "failed", said, field))).reports
    assert (one.status, one.reason, one.type) == (status, reason, kind)
    assert one.status_source == ("wire" if status == said else "derived")
    assert (one.blame == "recipient") == (code in ("67", "68"))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Command died with status 67: /usr/bin/x", "userunknown"),
        ("Command died with status 1: /usr/bin/x. Command output: The account is disabled.", "suspend"),
        ("Command died with status 67: /usr/bin/x. Command output: over quota", "mailboxfull"),
        ("Command died with status 1: /usr/bin/x. Command output: cannot open mailbox", "mailererror"),
        ("Command died with status 1: /usr/bin/x. Command output: rejected", "mailererror"),
        ("Command died with status 1: /usr/bin/x", "mailererror"),
    ],
)
def test_what_a_program_said_comes_before_the_fact_that_it_failed(said: str, reason: str) -> None:
    """Its output first, then its exit code."""
    fields = group("user@example.net", "failed", "5.3.0", f"Diagnostic-Code: x-unix; {said}")
    (one,) = read(report(fields)).reports
    assert (one.reason, one.diagnostic) == (reason, f"x-unix; {said}")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("The following text was generated during the delivery attempt:\n\n------ |/usr/bin/x ------\n\nover quota", "mailboxfull"),
        ("Child process of address_pipe transport returned 67 from command:\n  /usr/bin/x", "userunknown"),
        ("Child process of address_pipe transport returned 127 from command:\n  /usr/bin/x", "mailererror"),
    ],
)  # fmt: skip
def test_what_a_program_said_is_read_from_words_too(words: str, reason: str) -> None:
    """As Exim tells it."""
    text = f"The following address(es) failed:\n\n  |/usr/bin/x\n    generated by user@example.net\n    local delivery failed\n\n{words}\n"
    data = f"From: MAILER-DAEMON@mx.example.net\nTo: b@example.com\nSubject: Mail delivery failed\n\n{text}"
    assert [(one.recipient, one.reason) for one in read(data.encode()).reports] == [("user@example.net", reason)]


@pytest.mark.parametrize("kind", ["text/rfc822-headers", "message/rfc822", "application/octet-stream"])
def test_fields_in_a_part_of_another_name_are_read(kind: str) -> None:
    """They are known by what they begin with; the returned message is the part behind them."""
    fields = f"Reporting-MTA: dns; mx.example.com\n\n{group('user@example.net')}"
    found = read(parted(fields, kind=kind))
    assert [(one.recipient, one.action) for one in found.reports] == [("user@example.net", "failed")]
    assert found.original.message_id == "<1@example.com>"
