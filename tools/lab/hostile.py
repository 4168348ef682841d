"""Hostile: reports that are costly to read, for tests and bench."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

HEAD = b"From: MAILER-DAEMON@mx.example\nTo: us@example.org\nSubject: Undelivered Mail\n"
REPORT = HEAD + b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
STATUS = b"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n"


def recipients(count: int) -> bytes:
    """A report about many recipients."""
    rows = (
        b"Final-Recipient: rfc822; user%d@example%d.com\nAction: failed\nStatus: 5.1.1\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 <user%d@example%d.com> no such user\n" % (n, n, n, n)
        for n in range(count)
    )
    return REPORT + STATUS + b"\n".join(rows) + b"\n--b--\n"


def strange(count: int) -> bytes:
    """A report about many recipients, each refused in different words that no rule knows."""
    text = b"".join(
        b"<u%d@e.com>: host said %d foo\n\n>>> RCPT TO:<u%d@e.com>\n<<< 550 %d xkcd\n" % (n, n, n, n)
        for n in range(count)
    )
    rows = (
        b"Final-Recipient: rfc822; u%d@e.com\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 %d xkcd foo%d\n\n"
        % (n, n, n)
        for n in range(count)
    )
    return REPORT + b"--b\nContent-Type: text/plain\n\n" + text + b"\n" + STATUS + b"".join(rows) + b"--b--\n"


def wordy(count: int) -> bytes:
    """A report about many recipients, each refused in a dozen words out of many."""
    words = [f"{a}{b}" for a in ("frob", "zork", "quux", "blorb", "vorp") for b in range(97)]
    return _refused(" ".join(words[n * k % len(words)] for k in range(3, 15)) for n in range(count))


def long_winded(count: int) -> bytes:
    """A report about many recipients, each refused at length in words that occur in rules but match none."""
    words = " ".join(["user mailbox account over not is recipient address unknow"] * 15)
    return _refused(words for _ in range(count))


def _refused(words: Iterable[str]) -> bytes:
    """A report about as many recipients as there are texts; a number behind each makes it one of its own."""
    rows = (
        f"Final-Recipient: rfc822; u{n}@e.com\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 {text} {n}\n\n"
        for n, text in enumerate(words)
    )
    return REPORT + STATUS + "".join(rows).encode() + b"--b--\n"


def named_in_text(count: int) -> bytes:
    """A report in words about many recipients."""
    rows = (b"<u%d@example.com>: strange %d words %dth here\n\n" % (n, n, n) for n in range(count))
    return HEAD + b"\nfailed:\n" + b"".join(rows)


def encoded(count: int) -> bytes:
    """A report about many recipients with its fields in base64."""
    head, empty, about = STATUS.partition(b"\n\n")
    fields = base64.encodebytes(about + recipients(count).partition(STATUS)[2].removesuffix(b"--b--\n"))
    return REPORT + head + b"\nContent-Transfer-Encoding: base64" + empty + fields + b"--b--\n"


OF_MANY: dict[str, Callable[[int], bytes]] = {
    "strange": strange,
    "wordy": wordy,
    "named in text": named_in_text,
    "recipients": recipients,
    "encoded": encoded,
}
"""Reports with many recipients, by what makes them costly."""


def of_octets(make: Callable[[int], bytes], size: int) -> bytes:
    """A report of that kind and about that size."""
    return make(size // (len(make(10_000)) // 10_000))
