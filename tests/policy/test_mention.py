"""Mentions of an address: found in each way that mail writes it, and no other address with them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_policy.mention import FORGOTTEN, Mention

ANN = Mention("Ann.Lee@Example.NET")
WRITTEN = (
    "<ann.lee@example.net>", "ANN.LEE@EXAMPLE.NET.", "rfc822;ann.lee@example.net", "b-x+ann.lee=example.net@b.example",
    "SRS0=abc=tt=example.net=ann.lee@fwd.example", "ann.lee=40example.net", "mailto:ann.lee%40example.net",
    "'ann.lee@example.net'", "(ann.lee@example.net)",
)  # fmt: skip
OTHERS = (
    "joann.lee@example.net", "x+ann.lee@example.net", "ann-ann.lee@example.net", "ann.lee@example.net.au",
    "ann.lee@example.network", "ann.lee@example.net-x.org", "ann_lee@example.net", "ann.lee@sub.example.net",
    "lee@example.net", "SRS0=abc=tt=myexample.net=ann.lee@fwd.example", "",
)  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_it_is_found_and_taken_out(text: str) -> None:
    """In any case, in quotes and brackets, inside a sender of ours or of a forwarder."""
    assert ANN.is_in(f"550 {text}: no such user")
    assert not ANN.is_in(ANN.without(text)) and FORGOTTEN in ANN.without(text)
    assert all(any(needle in text.lower() for needle in one_of) for one_of in ANN.needles)


@pytest.mark.parametrize("text", OTHERS)
def test_other_addresses_stay(text: str) -> None:
    """Longer and shorter ones, and those of a domain that ends or begins as hers."""
    assert not ANN.is_in(text) and ANN.without(text) == text


@pytest.mark.parametrize("address", ["jörg@bücher.example", "jörg@xn--bcher-kva.example", "例@例え.example"])
def test_a_domain_is_found_in_either_script(address: str) -> None:
    """As A-label and as it is read; also in JSON that writes what is not ASCII as \\u."""
    local = address.partition("@")[0]
    mention = Mention(address)
    for domain in ("BÜCHER.example", "xn--bcher-kva.EXAMPLE") if local == "jörg" else ("例え.example",):
        text = f"<{local.upper()}@{domain}>"
        assert mention.is_in(text)
        assert all(any(needle in json.dumps(text).lower() for needle in one_of) for one_of in mention.needles)


def test_whole_values_are_gone_through() -> None:
    """Lists and tables, whatever is in them; what does not mention her is the same."""
    value = {"a": ["x ann.lee@example.net", 1, None], "b": {"c": "bob@example.net"}}
    assert ANN.without(value) == {"a": [f"x {FORGOTTEN}", 1, None], "b": {"c": "bob@example.net"}}


def test_a_message_is_decoded() -> None:
    """In base64 too; nothing that a stranger wrote stops the search."""
    inner = base64.encodebytes(b"no such user: ann.lee@example.net\n")
    assert ANN.is_in_mail(b"Content-Transfer-Encoding: base64\n\n" + inner)
    assert not ANN.is_in_mail(b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(b"bob@example.net"))
    assert ANN.is_in_mail(b"To: <ANN.LEE@example.net>\n\nhello\xff\n")
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3_000))
    ANN.is_in_mail(deep + b"Content-Transfer-Encoding: base64\n\nAAAA\n")


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_raises(before: str, after: str) -> None:
    """Whatever stands around it."""
    text = ANN.without(f"{before} ann.lee@example.net {after}")
    assert FORGOTTEN in text and not ANN.is_in(text)
