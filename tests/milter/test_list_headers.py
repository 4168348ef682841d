"""The fields by which recipients unsubscribe and complain, beside those that the application wrote."""

from email import message_from_bytes

import pytest

from retour_milter.header_edits import edited
from retour_milter.list_headers import FIELDS, ListAddresses, list_edits
from retour_policy.config.model import Stream

VALUES = {"stream": "news", "tag": "c-17"}
LINK, MAILTO = "https://u.example.com/u/" + "t" * 40, "u-" + "t" * 40 + "@bounces.example.com"
OURS, BY_MAIL = f"<{LINK}>", f"<mailto:{MAILTO}?subject=unsubscribe>"
ADDRESSES = ListAddresses(LINK, MAILTO, "fbl@bounces.example.com", "f" * 30)
SEVERAL = ListAddresses(None, MAILTO, "fbl@bounces.example.com", "f" * 30)
ASKED = {
    "unsubscribe": {"https": "https://u.example.com", "mailto": True, "post": True},
    "list_id": "Example news <news.example.com>",
    "feedback_id": "{tag}:{stream}:mail:example",
    "cfbl": True,
}
THEIRS = [
    ("From", "a@example.com"),
    ("List-Unsubscribe", "<mailto:out@app.example>, <https://app.example/out?id=7>"),
    ("list-unsubscribe-post", "List-Unsubscribe=One-Click"),
    ("List-ID", "<theirs.example>"),
    ("Feedback-ID", "a:b:c:theirs"),
    ("CFBL-Address", "fbl@app.example; report=arf"),
]


def values_of(headers, name):
    return [value for field, value in headers if field.lower() == name.lower()]


def listed(headers, addresses=ADDRESSES, **asked):
    stream = Stream.model_validate({"name": "news", "envelope_from": "b-%@bounces.example.com", **ASKED, **asked})
    made = list_edits(stream, headers, VALUES, addresses)
    after = message_from_bytes(edited(headers, made.edits)).items()
    return {name: [" ".join(value.split()) for value in values_of(after, name)] for name in FIELDS}, made.left_off


def test_all_fields_are_written_where_the_application_wrote_none():
    """The link before the mail address, one click, and the rest."""
    found, left_off = listed([("From", "a@example.com")])
    assert left_off == () and found == {
        "List-Unsubscribe": [f"{OURS}, {BY_MAIL}"],
        "List-Unsubscribe-Post": ["List-Unsubscribe=One-Click"],
        "List-Id": ["Example news <news.example.com>"],
        "Feedback-ID": ["c-17:news:mail:example"],
        "CFBL-Address": ["fbl@bounces.example.com; report=arf"],
        "CFBL-Feedback-ID": ["f" * 30],
    }


def test_with_several_recipients_there_is_no_link_and_no_click():
    """One person's link would unsubscribe them for whoever presses it."""
    found, _ = listed([], SEVERAL)
    assert (found["List-Unsubscribe"], found["List-Unsubscribe-Post"]) == ([BY_MAIL], [])


def test_what_the_application_wrote_is_kept():
    """Untouched, each field by itself, but a pair as a pair; a lone Post is not joined to our link."""
    found, _ = listed(THEIRS)
    assert found == {name: values_of(THEIRS, name) for name in FIELDS}
    found, _ = listed([("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")])
    assert found["List-Unsubscribe"] == [] and found["Feedback-ID"] == ["c-17:news:mail:example"]


def test_what_the_application_wrote_is_replaced():
    """As if it had written nothing, whatever the number of its fields."""
    assert listed(THEIRS + THEIRS, existing="replace") == listed([])


def test_a_replaced_link_takes_its_click_along():
    """With several recipients only our mail address stays: a Post to nowhere would be invalid (RFC 8058)."""
    found, _ = listed(THEIRS, SEVERAL, existing="replace")
    assert (found["List-Unsubscribe"], found["List-Unsubscribe-Post"]) == ([BY_MAIL], [])


def test_what_the_application_wrote_is_wrapped():
    """Ours first; their mail address stays, their link does not, as one is allowed; single fields stay theirs."""
    found, _ = listed(THEIRS, existing="wrap")
    assert found["List-Unsubscribe"] == [f"{OURS}, {BY_MAIL}, <mailto:out@app.example>"]
    assert found["List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]
    assert (found["List-Id"], found["Feedback-ID"]) == (["<theirs.example>"], ["a:b:c:theirs"])


def test_without_a_link_of_ours_theirs_stays_with_its_click():
    """Of several recipients all have it already, by the application's own doing."""
    found, _ = listed(THEIRS, SEVERAL, existing="wrap")
    assert found["List-Unsubscribe"] == [f"{BY_MAIL}, <mailto:out@app.example>, <https://app.example/out?id=7>"]
    assert found["List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]


def test_where_nothing_of_ours_can_stand_theirs_stays():
    """Several recipients and no mail address: better their field than none."""
    found, _ = listed(THEIRS, ListAddresses(), existing="replace", unsubscribe={"https": "https://u.example.com"})
    assert found["List-Unsubscribe"] == [values_of(THEIRS, "List-Unsubscribe")[0]]


@pytest.mark.parametrize(
    "hostile", ["<mailto:a@b>\r\nBcc: x", "<" + "a" * 5_000 + ">", "<grün@x>", "<a b>", "<\udcff>"]
)
def test_what_cannot_stand_in_a_header_is_not_wrapped(hostile):
    """Nothing of it gets into our field but an address that is one."""
    found, _ = listed([("List-Unsubscribe", hostile)], existing="wrap")
    assert found["List-Unsubscribe"] in ([f"{OURS}, {BY_MAIL}"], [f"{OURS}, {BY_MAIL}, <mailto:a@b>"])


def test_a_name_that_is_not_ascii_is_encoded():
    """RFC 2047: the name alone, never the identifier."""
    found, _ = listed([], list_id="Grüße <news.example.com>")
    assert found["List-Id"] == ["=?utf-8?b?R3LDvMOfZQ==?= <news.example.com>"]


@pytest.mark.parametrize("tag", [None, "a:b", "a\nb", "ä"])
def test_a_feedback_id_that_would_be_invalid_is_left_off(tag):
    """Gmail reads four parts; without the tag, or with one that has a colon, there is none."""
    stream = Stream.model_validate({"name": "news", "feedback_id": "{tag}:{stream}:mail:example"})
    made = list_edits(stream, [], VALUES | {"tag": tag}, ListAddresses())
    assert (made.edits, made.left_off) == ((), ("Feedback-ID",))
