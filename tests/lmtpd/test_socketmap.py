"""The protocol of socketmap_table(5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_lmtpd.socketmap import MAX_REQUEST_OCTETS, SocketmapError, netstring, split


@given(st.lists(st.binary(max_size=40), max_size=5), st.data())
def test_whole_requests_are_taken_out_and_the_rest_waits(requests, data):
    """At any cut: what is whole is answered, what is not stays."""
    octets = b"".join(map(netstring, requests))
    cut = data.draw(st.integers(0, len(octets)))
    first, rest = split(octets[:cut])
    second, nothing = split(rest + octets[cut:])
    assert first + second == requests
    assert nothing == b""


@pytest.mark.parametrize(
    "octets", [b"x", b":a,", b"-1:a,", b"1:ab", b"99999999", b"10001:", b"+1:a,", b"1 :a,", b"\xb2:a,"]
)
def test_what_is_not_a_netstring_is_refused(octets):
    """At once, so that nobody can make us keep what they send."""
    with pytest.raises(SocketmapError):
        split(octets)


def test_what_waits_is_bounded():
    """A request is never longer than the limit."""
    found, rest = split(b"%d:" % MAX_REQUEST_OCTETS + b"x" * MAX_REQUEST_OCTETS)
    assert found == []
    assert len(rest) <= MAX_REQUEST_OCTETS + 6
