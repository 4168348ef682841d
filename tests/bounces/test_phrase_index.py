"""Phrase index: phrases are found where they begin a word, and nothing else is."""

from __future__ import annotations

import pytest

from retour_bounces.phrases.index import PhraseIndex

INDEX = PhraseIndex(
    (phrase, number)
    for number, phrase in enumerate(
        [
            "user",
            "user unknown",
            "reject",
            "mime",
            "(s31",
            "(s3140)",
            "|/",
            "не найден",
            "不存在",
            "mailbox",
            "box full",
        ]
    )
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("550 user unknown", {"user", "user unknown"}),
        ("superuser unknown", set()),
        ("rejected by mimecast", {"reject"}),
        ("(mime)", {"mime"}),
        ("see (s3140) there", {"(s3140)"}),
        ("see (s31) there", {"(s31"}),
        ("to |/bin/true", {"|/"}),
        ("пользователь не найден", {"не найден"}),
        ("пне найден", set()),
        ("用户不存在", {"不存在"}),
        ("a mailbox full", {"mailbox"}),
        ("user, user: user", {"user"}),
        ("", set()),
    ],
)
def test_phrases_are_found_where_they_begin_a_word(text: str, found: set[str]) -> None:
    """A long last word may go on, a short one may not; signs and scripts without spaces stand anywhere."""
    assert {phrase for _, phrase, _ in INDEX.find(text)} == found
    assert INDEX.any(text) == bool(found)
    assert all(text.startswith(phrase, at) for at, phrase, _ in INDEX.find(text))


def test_a_phrase_gives_all_its_values_and_all_its_places() -> None:
    """Two rules may hold one phrase, and a text may hold it twice."""
    index = PhraseIndex([("no user", 1), ("no user", 2)])
    assert sorted(index.find("no user, no user")) == [
        (0, "no user", [1, 2]),
        (9, "no user", [1, 2]),
    ]
    assert not list(PhraseIndex([]).find("anything"))
