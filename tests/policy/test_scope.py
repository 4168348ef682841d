"""Scopes as postmasters write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_policy.core.decide import BULK, EVERYWHERE
from retour_policy.core.scope import parse_scope, scope_text

STREAMS = ("bulk", "everywhere", "news", "stream")


@given(st.sampled_from([EVERYWHERE, BULK, *STREAMS]))
def test_what_is_written_is_read_as_the_same(scope: str) -> None:
    """Whatever a stream is called."""
    assert parse_scope(scope_text(scope), STREAMS) == scope


@pytest.mark.parametrize(
    ("text", "scope"),
    [("", "*"), ("Everywhere", "*"), ("*", "*"), ("BULK", "*bulk"), ("*bulk", "*bulk"), ("stream:bulk", "bulk"),
     ("stream:news", "news"), ("news", "news")],
)  # fmt: skip
def test_each_way_to_write_a_scope(text: str, scope: str) -> None:
    """A word is a class of streams; with stream: before it, it is a stream; any other name is one by itself."""
    assert parse_scope(text, STREAMS) == scope


@pytest.mark.parametrize("text", ["nosuch", "stream:nosuch", "stream:", "**", "news "])
def test_what_is_no_scope_is_refused_with_those_that_are(text: str) -> None:
    """With the way to write each of them."""
    with pytest.raises(
        LookupError, match=r"no stream .*; the scopes are everywhere, bulk, stream:bulk, stream:everywhere"
    ):
        parse_scope(text, STREAMS)
