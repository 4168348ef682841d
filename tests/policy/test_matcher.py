"""Matching an address: found in each way that mail writes it, and no other address with them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_policy.erasure.matcher import ERASED, AddressMatcher

ANN = AddressMatcher("Ann.Lee@Example.NET")
WRITTEN = (
    "<ann.lee@example.net>", "ANN.LEE@EXAMPLE.NET.", "rfc822;ann.lee@example.net", "b-x+ann.lee=example.net@b.example",
    "SRS0=abc=tt=example.net=ann.lee@fwd.example", "ann.lee=40example.net", "mailto:ann.lee%40example.net",
    "'ann.lee@example.net'", "(ann.lee@example.net)", "?e=3Dann.lee=40example.net&amp;x",
    "?r=%3Cann.lee%40example.net%3E", "=3Cann.lee@example.net=3E", "u%3Dann.lee%40example.net%20x",
    "x%20ann.lee@example.net", "to=20ann.lee@example.net", "ann.lee&#64;example.net", "ann.lee&#x40;example.net",
    "u%253Dann.lee%2540example.net", "x=3Aann.lee=example.net@b",
)  # fmt: skip
OTHERS = (
    "joann.lee@example.net", "x+ann.lee@example.net", "ann-ann.lee@example.net", "ann.lee@example.net.au",
    "ann.lee@example.network", "ann.lee@example.net-x.org", "ann_lee@example.net", "ann.lee@sub.example.net",
    "lee@example.net", "SRS0=abc=tt=myexample.net=ann.lee@fwd.example", "",
    "?u=adann.lee@example.net", "?u=3dann.lee@example.net", "?u=ADann.lee@example.net", "?u%3Djoann.lee%40example.net",
    "100%2Bann.lee@example.net", "x=2Eann.lee@example.net",
)  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_it_is_found_and_taken_out(text: str) -> None:
    """In any case, in quotes and brackets, inside a sender of ours or of a forwarder."""
    assert ANN.matches(f"550 {text}: no such user")
    assert not ANN.matches(ANN.redact(text)) and ERASED in ANN.redact(text)
    assert all(any(needle in text.lower() for needle in one_of) for one_of in ANN.needles)


@pytest.mark.parametrize("text", OTHERS)
def test_other_addresses_stay(text: str) -> None:
    """Longer and shorter ones, and those of a domain that ends or begins as theirs."""
    assert not ANN.matches(text) and ANN.redact(text) == text


@pytest.mark.parametrize("address", ["jörg@bücher.example", "jörg@xn--bcher-kva.example", "例@例え.example"])
def test_a_domain_is_found_in_either_script(address: str) -> None:
    """As A-label and as it is read; also in JSON that writes what is not ASCII as \\u."""
    local = address.partition("@")[0]
    matcher = AddressMatcher(address)
    for domain in ("BÜCHER.example", "xn--bcher-kva.EXAMPLE") if local == "jörg" else ("例え.example",):
        text = f"<{local.upper()}@{domain}>"
        assert matcher.matches(text)
        assert all(any(needle in json.dumps(text).lower() for needle in one_of) for one_of in matcher.needles)


def test_whole_values_are_gone_through() -> None:
    """Lists and tables, whatever is in them; what does not mention them is the same."""
    value = {"a": ["x ann.lee@example.net", 1, None], "b": {"c": "bob@example.net"}}
    assert ANN.redact(value) == {"a": [f"x {ERASED}", 1, None], "b": {"c": "bob@example.net"}}


def test_an_escape_may_stand_for_what_links_do_not_allow() -> None:
    """A plus sign, a letter that is not ASCII, a quotation mark."""
    assert AddressMatcher("ann+x@example.net").matches("https://n.example/?u=ann%2Bx%40example.net")
    assert AddressMatcher("jörg@bücher.example").matches("mailto:j%c3%b6rg%40b%C3%BCcher.example")
    assert AddressMatcher('"a\\"b"@example.net').matches('<"a\\"b"@example.net>')


def field(encoding: str) -> bytes:
    return b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: " + encoding.encode() + b"\n\n"


def mail(*, encoding: str = "8bit", text: bytes = b"", head: bytes = b"") -> bytes:
    """A report as it came, with a part in that encoding."""
    start = b"From: x@example.org\n" + head + b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n'
    return start + field("7bit") + b"Hello\n--b\n" + field(encoding) + text + b"\n--b--\n"


def packed(text: bytes) -> bytes:
    return base64.encodebytes(text)


QP = "quoted-printable"
TELLING = {
    "as it is": mail(text=b"To: <ANN.LEE@example.net>\nhello\xff"),
    "base64": mail(encoding="base64", text=packed(b"no such user: ann.lee@example.net\n" * 9)),
    "base64 in capitals": mail(encoding="BASE64", text=packed(b"x" * 100 + b" ann.lee@example.net")),
    "base64 with empty lines": mail(encoding="base64", text=packed(b"ann.lee@example.net").replace(b"u", b"u\n\n")),
    "base64 behind a word": mail(encoding="\n base64", text=b"word\n" + packed(b"<ann.lee@example.net>")),
    "base64, quoted": b"> " + packed(b"ann.lee@example.net, gone for ever and ever" * 3).replace(b"\n", b"\n> "),
    "base64 in base64": mail(
        encoding="base64", text=packed(mail(encoding="base64", text=packed(b"<ann.lee@example.net>")))
    ),
    "base64 of UTF-16": mail(encoding="base64", text=packed("<ann.lee@example.net>".encode("utf-16"))),
    "quoted-printable, a link": mail(encoding=QP, text=b'<a href=3D"https://n.example/u?e=3Dann.lee@example.net">'),
    "quoted-printable, a soft line break": mail(encoding=QP, text=b"gone: ann.lee@exam=\r\nple.net."),
    "quoted-printable, an escape in lower case": mail(encoding=QP, text=b"e=3dann.lee=40example.net"),
    "a link": mail(text=b"https://n.example/u?a=1&r=%3Cann.lee%40example.net%3E"),
    "a header field in base64": mail(head=b"Subject: =?utf-8?B?%b?=\n" % packed(b"for ann.lee@example.net").strip()),
    "a header field": mail(head=b"Subject: =?utf-8?q?Bounce_of_ann=2Elee?=\n =?utf-8?Q?=40example=2Enet?=\n"),
}  # fmt: skip


@pytest.mark.parametrize("how", TELLING)
def test_a_message_is_decoded(how: str) -> None:
    """An erased person is found in it, however mail programs write text."""
    assert ANN.matches_mail(TELLING[how])
    assert ANN.matches_mail(TELLING[how].replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("how", TELLING)
def test_a_message_about_others_is_not_hers(how: str) -> None:
    """The same messages about somebody else."""
    assert not AddressMatcher("bob@example.net").matches_mail(TELLING[how])
    assert not AddressMatcher("lee@example.net").matches_mail(TELLING[how])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n"])
def test_half_of_anothers_name_is_not_hers(end: bytes) -> None:
    """Quoted-printable breaks lines anywhere, also within a longer address; elsewhere a line's beginning is one."""
    other, theirs = b"joann.lee@example.net", b"To: =\nann.lee@example.net"
    broken = other.replace(b"joann", b"jo=" + end + b"ann").replace(b".net", b".net=" + end + b".au")
    assert not ANN.matches_mail(mail(encoding=QP, text=broken))
    assert ANN.matches_mail(mail(encoding=QP, text=theirs)) and ANN.matches_mail(mail(text=theirs))


NESTED = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3_000))


@pytest.mark.parametrize("wrapped", [NESTED, b"Content-Type: message/rfc822\n\n" * 1_500], ids=["parts", "messages"])
@pytest.mark.parametrize("encoding", ["base64", QP])
def test_what_cannot_be_parsed_is_searched_all_the_same(wrapped: bytes, encoding: str) -> None:
    """Thousands of parts in each other: it is theirs where it names them, and only then."""
    for text, theirs in ((b"<ann.lee@example.net>", True), (b"<carol@example.org> base64", False)):
        inner = packed(text) if encoding == "base64" else text.replace(b"@", b"=40")
        assert ANN.matches_mail(wrapped + field(encoding) + inner) is theirs


@pytest.mark.parametrize(
    "text", [b"A", b"=", b"=?", b"=?utf-8?b?", b"Content-Transfer-Encoding: base64\n\n", b"\xff\0"]
)
def test_no_message_stops_the_search(text: bytes) -> None:
    """Whatever a stranger wrote."""
    assert not ANN.matches_mail(text) and not ANN.matches_mail(text * 1_000)
    assert ANN.matches_mail(text * 1_000 + b"\n<ann.lee@example.net>")


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_raises(before: str, after: str) -> None:
    """Whatever stands around it."""
    text = ANN.redact(f"{before} ann.lee@example.net {after}")
    assert ERASED in text and not ANN.matches(text)
