"""Pages: what people read, in their language; text of others stays text."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from lab.web import HTML, WebService, words
from retour_web.backend import Subscription
from retour_web.languages import choose, languages
from retour_web.pages import Frame, style

parse = Formatter().parse
SCRIPT = "<script>alert(1)</script>\"'&{operator}{0.__class__}"


def test_a_person_leaves_comes_back_and_leaves_everything(web: WebService) -> None:
    """Who and what is shown, the address masked; after each button the next choices, and after a reload the same."""
    token = web.token("peter@example.net")
    asked = web.page(token)
    assert "p…@example.net will get no more mail from the list Example news" in words(asked)
    assert "peter" not in asked.text and asked.text.count("<button") == 1
    left = web.press(token, "unsubscribe")
    assert left.status == 200 and left.text == web.page(token).text
    assert "You are unsubscribed" in words(left)
    assert re.findall(r'value="(\w+)"', left.text) == ["everything", "undo"]
    assert "You are subscribed again" in words(web.press(token, "undo"))
    assert web.page(token).text == asked.text
    everything = web.press(token, "everything")
    assert "any list of Example Ltd" in words(everything) and re.findall(r'value="(\w+)"', everything.text) == ["undo"]
    other = web.token("peter@example.net", "offers")
    assert "unsubscribed from everything" in words(web.page(other))
    web.press(other, "undo")
    ways = [event["way"] for event in web.events() if "peter" in event.get("address", "")]
    assert len(ways) >= 4 and set(ways) == {"page"}


def test_the_browsers_language_is_spoken(web: WebService) -> None:
    """German where it is preferred, marked as such; English for all others."""
    token = web.token("lena@example.net")
    german = web.page(token, HTML | {"Accept-Language": "de-CH,de;q=0.9,en;q=0.8"})
    assert german.headers["content-language"] == "de" and '<html lang="de">' in german.text
    assert "Abbestellen" in words(german)
    assert "Unsubscribe" in words(web.page(token, HTML | {"Accept-Language": "fr, en;q=0.5, de;q=0.1"}))


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("fr-FR,fr;q=0.9", "en"),
        ("en;q=0.3, de;q=0.7", "de"),
        ("de;q=0, en", "en"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("de;q=x", "en"),
        ("de;q=nan", "en"),
        (";;;,,,q=", "en"),
        ("de" * 10_000, "en"),
    ],
)
def test_accept_language_is_read_as_http_has_it(accept: str, code: str) -> None:
    """By weight; a region's language is the language; what is no such value is passed over."""
    assert choose(accept, languages()).code == code


def test_all_languages_say_the_same_things() -> None:
    """Who adds a file sees here what is missing: the same texts, with the same values put in."""

    def places(texts: dict[str, str]) -> dict[str, set[str]]:
        return {name: {field for _, field, _, _ in parse(text) if field} for name, text in texts.items()}

    english = places(dict(choose("en", languages()).texts))
    assert {language.code for language in languages()} >= {"en", "de"}
    for language in languages():
        assert places(dict(language.texts)) == english, language.code


@pytest.mark.parametrize("state", ["subscribed", "unsubscribed", "everything"])
@pytest.mark.parametrize("language", languages(), ids=lambda language: language.code)
def test_text_of_others_is_no_markup(state: str, language: object) -> None:
    """A list's or an operator's name, or an address, with markup or placeholders in it is shown as it is."""
    frame = Frame(language, SCRIPT, b"<svg>" + SCRIPT.encode())  # type: ignore[arg-type]
    page = frame.subscription(Subscription(f"{SCRIPT}@example.net", "news", SCRIPT, state))  # type: ignore[arg-type]
    assert "<script" not in page and "alert(1)" in page and "{operator}" in page
    outside = page.replace(style(), "")
    assert not re.search(r"(?i)\son\w+\s*=|javascript:|https?:|<link|<iframe|url\(", outside)
