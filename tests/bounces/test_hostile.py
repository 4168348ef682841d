"""Hostile input: nothing raises, nothing grows faster than its size, and a cut message never gives a wrong
address."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.effort import effort, growth, is_within
from lab.hostile import HEAD, OF_MANY, REPORT, STATUS, long_winded, of_octets, recipients
from retour_bounces import read

LIMIT = 500
"""Yardsticks for any report: two seconds on a good machine; bench/bounces.py measures what is promised."""
FOUND = Path(__file__).parent / "found"


def nested(levels: int) -> bytes:
    parts = (b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(levels))
    return HEAD + b"".join(parts) + b"Content-Type: text/plain\n\nhi\n"


BOMBS: dict[str, Callable[[int], bytes]] = {
    "recipients": recipients,
    "short lines": lambda n: HEAD + b"\n" + b"x\n" * n,
    "levels of MIME": nested,
    "parts": lambda n: (
        HEAD + b'Content-Type: multipart/mixed; boundary="b"\n\n' + b"--b\nContent-Type: text/plain\n\nhi\n" * n
    ),
    "RFC 2231 parameters": lambda n: (
        HEAD + b"Content-Type: multipart/mixed" + b"".join(b";\n b*%d*=a%%20" % i for i in range(n)) + b"\n\nhi"
    ),
    "addresses": lambda n: (
        HEAD + b"X-Failed-Recipients: " + b",\n ".join(b"u%d@example.com" % i for i in range(n)) + b"\n\nhi\n"
    ),
    "addresses in text": lambda n: (
        HEAD + b"\ncould not be delivered:\n" + b"".join(b"  u%d@example.com\n" % i for i in range(n))
    ),
    "addresses and errors": lambda n: (
        HEAD + b"\nfailed:\n" + b"".join(b"<u%d@example.com>: no such user\n" % i for i in range(n))
    ),
    "To fields": lambda n: HEAD + b"\nwas rejected\n" + b"".join(b"To: u%d@example.com\n" % i for i in range(n)),
    "at signs": lambda n: HEAD + b"\ncould not be delivered to\n" + b"a@" * n + b"\n",
    "senders in one line": lambda n: HEAD + b"\n" + b"from a@b.example, " * n + b"\n",
    "addresses in sentences of other things": lambda n: (
        HEAD + b"\n" + (b"confidential" + b" u@b.example" * 150 + b" x. u@b.example" * 10 + b"\n") * (n // 160 + 1)
    ),
    "quotes": lambda n: HEAD + b"\ncould not be delivered to\n" + b'"' * n + b"@example.com\n",
    "brackets": lambda n: HEAD + b"\ncould not be delivered to\n" + b"<" * n + b"\n",
    "parentheses": lambda n: HEAD + b"To: " + b"(" * n + b"\n\n" + b"(" * n + b"\n",
    "spaces": lambda n: HEAD + b"\n" + b" " * n + b"a@b.example\n",
    "empty lines": lambda n: HEAD + b"\n" + b"\n" * n,
    "folds": lambda n: HEAD + b"X-Failed-Recipients: a@b.example" + b"\n x" * n + b"\n\nhi\n",
    "continued fields": lambda n: REPORT + STATUS + b"Final-Recipient: rfc822; a@b.example\n" + b" x\n" * n,
    "dialogue": lambda n: HEAD + b"\n" + b">>> RCPT TO:<a@b.example>\n<<< 550-no\n<<< 550 no\n" * n,
    "continued replies": lambda n: HEAD + b"\n>>> RCPT TO:<a@b.example>\n" + b"<<< 550-no\n" * n,
    "HTML": lambda n: HEAD + b"Content-Type: text/html\n\n" + b"<p>could not be delivered <b" * n,
    "encoded words": lambda n: HEAD + b"X: y\nSubject: " + b"=?utf-8?Q?a?= " * n + b"\n\nhi\n",
    "JSON": lambda n: HEAD + b'\n{"notificationType":"Bounce","bounce":' + b"[" * n,
    "rows": lambda n: (
        HEAD + b"\ncould not be delivered to a@b.example\n\n" + b"Sender: x@y.example\nSubject: 550 no\n" * n
    ),
    "delivery-status parts": lambda n: (
        REPORT + (STATUS + b"Final-Recipient: rfc822; a@b.example\nAction: failed\n\n") * n
    ),
    "words in a delivery-status part": lambda n: (
        REPORT + b"--b\nContent-Type: message/delivery-status\n\n" + b"re-mta\n" * n
    ),
    "messages in messages": lambda n: (HEAD + b"Content-Type: message/rfc822\n\n") * n + HEAD + b"\nhi\n",
    "types of an address": lambda n: (
        REPORT + STATUS + (b"Final-Recipient: " + b"rfc822; " * 100 + b"a@b.example\nAction: failed\n\n") * n
    ),
    "a program's output": lambda n: (
        REPORT
        + STATUS
        + b"Final-Recipient: rfc822; a@b.example\nDiagnostic-Code: x-unix; command output: "
        + b"exit " * n
    ),
    "delimiters": lambda n: HEAD + b'Content-Type: multipart/mixed; boundary="z"\n\n' + b"--a\ncontent\n" * n,
    "words": lambda n: (
        REPORT + STATUS + b"Final-Recipient: rfc822; a@b.example\nDiagnostic-Code: smtp; " + b"user " * n + b"\n"
    ),
}


def reading(data: bytes) -> Callable[[], object]:
    return lambda: read(data)


def grows(make: Callable[[int], bytes], count: int) -> float:
    """How much longer twice as many take."""
    return growth(reading(make(count)), reading(make(2 * count)), 3)


@pytest.mark.parametrize("name", BOMBS)
def test_twice_the_size_takes_less_than_three_times_as_long(name: str) -> None:
    """Growth is linear, whatever is repeated."""
    make, count = BOMBS[name], 1_000
    while len(make(count)) < 100_000 or (len(make(count)) < 800_000 and effort(reading(make(count))) < 1):
        count *= 2
    assert grows(make, count) < 3


@pytest.mark.parametrize("size", [900_000, 2_000_000])
@pytest.mark.parametrize("name", BOMBS)
def test_no_bomb_is_dear(name: str, size: int) -> None:
    """Anything is read at once, whether it is as large as a text that is read to the end or larger."""
    make = BOMBS[name]
    unit = max(1, len(make(2)) - len(make(1)))
    assert is_within(reading(make(min(size // unit, 100_000))), LIMIT)


def test_a_report_of_15_megabytes_is_read_at_once() -> None:
    """The size of the returned message does not matter."""
    body = b"--b\nContent-Type: message/rfc822\n\nFrom: a@b.example\n\n" + (b"y" * 76 + b"\r\n") * 200_000
    data = (
        REPORT + STATUS + b"Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n\n" + body + b"--b--\n"
    )
    assert [one.recipient for one in read(data).reports] == ["a@b.example"]
    assert is_within(reading(data), LIMIT)


def test_5000_recipients_are_all_read() -> None:
    """None is lost."""
    assert len(read(recipients(5_000)).reports) == 5_000


@pytest.mark.parametrize("name", OF_MANY)
def test_each_recipient_of_5000_costs_its_share(name: str) -> None:
    """Different words for each, which no rule knows, make a report costly, but in proportion to its size."""
    make = OF_MANY[name]
    assert len(read(make(5_000)).reports) == 5_000
    assert grows(make, 2_500) < 3


@pytest.mark.parametrize("name", [*OF_MANY, "long-winded"])
def test_15_megabytes_of_recipients_are_read_at_once(name: str) -> None:
    """However many recipients a report names, and it says so where it was not read to the end."""
    data = of_octets(OF_MANY.get(name, long_winded), 15_000_000)
    report = read(data)
    assert len(report.reports) >= 4_000
    assert report.truncated
    assert is_within(reading(data), LIMIT)


CUTS = {
    "fields": REPORT + STATUS + b"Final-Recipient: rfc822; rcpt@example.com\nAction: failed\nStatus: 5.1.1\n\n--b--\n",
    "qmail": HEAD + b"\nHi. This is the qmail-send program.\n\n<rcpt@example.com>:\nUser unknown\n\n--- Below this line is a copy of the message.\n",
    "exim": b"X-Failed-Recipients: rcpt@example.com\n" + HEAD + b"\nThe following address(es) failed:\n\n  rcpt@example.com\n    Unrouteable address\n",
    "sentence": HEAD + b"\nYour message could not be delivered to rcpt@example.com because of rain.\n",
    "sendmail": HEAD + b"\n   ----- Transcript of session follows -----\n>>> RCPT To:<rcpt@example.com>\n<<< 550 no\n550 <rcpt@example.com>... User unknown\n",
    "base64": HEAD + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(b"could not be delivered to:\n\n  rcpt@example.com\n\nbad luck\n"),
    "quoted-printable": HEAD + b"Content-Transfer-Encoding: quoted-printable\n\ncould not be delivered to:\n\n  rcpt@exam=\nple.com\n\nbad luck\n",
    "returned": HEAD + b"\nYour message could not be delivered.\n\nOriginal message follows.\n\nFrom: us@example.org\nTo: rcpt@example.com\nSubject: x\n\nhello\n",
    "json": HEAD + b'\n{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bouncedRecipients":[{"emailAddress":"rcpt@example.com"}]}}\n',
}  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_a_message_cut_at_any_byte_never_gives_a_wrong_address(name: str) -> None:
    """rcpt@example.co is never read from what was rcpt@example.com."""
    whole = CUTS[name]
    assert [one.recipient for one in read(whole).reports] == ["rcpt@example.com"]
    for end in range(len(whole)):
        for data in (whole[:end], whole[:end].replace(b"\n", b"\r\n")):
            named = {one.recipient for one in read(data).reports if one.recipient}
            assert named <= {"rcpt@example.com"}, (end, data[-40:], named)


def test_a_returned_message_cut_at_any_byte_never_gives_half_a_field() -> None:
    """Neither address nor Message-ID nor Subject is read from what was cut."""
    head = (
        b"From: us@example.org\nTo: rcpt@example.com\nMessage-ID:\n <1@example.org>\nSubject: News of\n today\nX: y\n"
    )
    fields = STATUS + b"Final-Recipient: rfc822; rcpt@example.com\nAction: failed\nStatus: 5.1.1\n\n"
    whole = REPORT + fields + b"--b\nContent-Type: text/rfc822-headers\n\n" + head + b"--b--\n"
    full = read(whole).original
    assert full.subject == "News of today"
    for end in range(len(REPORT + fields), len(whole)):
        back = read(whole[:end]).original
        assert back.sender in (None, full.sender), end
        assert back.recipient in (None, full.recipient), end
        assert back.message_id in (None, full.message_id), end
        assert back.subject in (None, full.subject), end


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3_000))
def test_no_bytes_raise(data: bytes) -> None:
    """Any bytes give a report."""
    read(data)
    read(REPORT + data)
    read(REPORT + STATUS + data)
    read(HEAD + b"\n" + data)


@pytest.mark.parametrize(
    "charset",
    ["unknown-8bit", "x-made-up", "utf-7", "idna", "punycode", "rot13", "zlib", "utf-16", "\xff", ""],
)
def test_wrong_missing_and_made_up_character_sets_do_not_matter(charset: str) -> None:
    """The address is read whatever the text is said to be."""
    head = HEAD + b'Content-Type: text/plain; charset="' + charset.encode("latin-1") + b'"\n\n'
    found = read(head + b"Your message could not be delivered to:\n\n  rcpt@example.com\n\n\xe4\xf6\xfc \xff\n")
    if charset != "utf-16":
        assert [one.recipient for one in found.reports] == ["rcpt@example.com"]


def test_a_missing_or_wrong_boundary_does_not_hide_the_fields() -> None:
    """The fields are found by their delimiter lines, or where they stand in the text."""
    good = (
        REPORT
        + b"--b\nContent-Type: text/plain\n\nsorry\n"
        + STATUS
        + b"Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n\n--b--\n"
    )
    for data in (
        good.replace(b'boundary="b"', b'boundary="c"'),
        good.replace(b'; boundary="b"', b""),
        good.replace(b"--b--\n", b""),
    ):
        assert [one.recipient for one in read(data).reports] == ["a@b.example"]


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")) or [None], ids=lambda path: path.name if path else "none")
def test_what_the_fuzzer_found_stays_fixed(path: Path | None) -> None:
    """Inputs that once broke a promise are read."""
    report = read(path.read_bytes() if path else b"")
    for one in report.reports:
        assert one.recipient and one.recipient.isprintable()
