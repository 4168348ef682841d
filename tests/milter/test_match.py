"""Which stream a message belongs to."""

import pytest

from retour_milter.match import Origin, find_stream
from retour_policy.config.model import Config

STREAMS = Config.model_validate(
    {
        "stream": [
            {"name": "by-sender", "match": {"sender": ["*@news.example.com", "promo@example.com"]}},
            {"name": "by-login", "match": {"login": ["billing"], "client": ["10.1.0.0/16"]}},
            {"name": "by-header", "match": {"header": {"List-Id": "*<news.example.com>*"}}},
            {"name": "by-both-headers", "match": {"header": {"X-Kind": ["a", "b"], "X-Site": "one"}}},
            {"name": "rest", "match": {"sender": ["*@example.com"]}},
        ]
    }
).stream
APP = "10.1.2.3"


@pytest.mark.parametrize(
    ("client", "login", "sender", "headers", "stream"),
    [
        (APP, None, "a@news.example.com", (), "by-sender"),
        (APP, None, "A@NEWS.example.COM", (), "by-sender"),
        (APP, None, "promo@example.com", (), "by-sender"),
        (APP, "billing", "x@other.example", (), "by-login"),
        ("10.2.0.1", "billing", "x@other.example", (), None),
        (APP, None, "x@other.example", (), None),
        (None, "billing", "x@other.example", (), None),
        (APP, None, "x@other.example", [("list-id", "News <news.example.com>")], "by-header"),
        (APP, None, "x@example.com", [("List-Id", "News <news.example.com>")], "by-header"),
        (APP, None, "x@other.example", [("X-Kind", "B"), ("X-Site", "one")], "by-both-headers"),
        (APP, None, "x@other.example", [("X-Kind", "b"), ("X-Site", "two")], None),
        (APP, None, "x@example.com", (), "rest"),
    ],
)
def test_all_keys_must_match_and_the_first_stream_wins(client, login, sender, headers, stream):
    """All keys given must match, any value of a key suffices, case does not matter, the first stream wins."""
    found = find_stream(STREAMS, Origin(client, login, sender), headers)
    assert found.decided
    assert (found.stream.name if found.stream else None) == stream


@pytest.mark.parametrize(
    ("sender", "decided", "stream"),
    [("a@news.example.com", True, "by-sender"), ("x@example.com", False, None), ("x@other.example", False, None)],
)
def test_a_stream_that_needs_a_header_leaves_those_below_it_undecided(sender, decided, stream):
    """Before the header is seen only the streams above the first one that needs it are decided."""
    found = find_stream(STREAMS, Origin(APP, None, sender), None)
    assert (found.decided, found.stream.name if found.stream else None) == (decided, stream)
