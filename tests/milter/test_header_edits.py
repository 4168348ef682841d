"""What a stream does to a message's header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retour_milter.header_edits import HeaderEdit, edited, stamp, tag_of
from retour_policy.config.model import Stream

HEADERS = [("From", "a@example.com"), ("X-Mailer", "one"), ("Subject", "hello"), ("x-mailer", "two")]
VALUES = {"stream": "news", "tag": "c-17", "token": "t" * 30, "recipient": "bob@example.net", "date": "now"}
VALUES["recipient_domain"] = "example.net"


def applied(headers, edits):
    """The header after the edits, done one after the other as Postfix does them."""
    result = list(headers)
    for edit in edits:
        places = [n for n, (name, _) in enumerate(result) if name.lower() == edit.name.lower()]
        if edit.place == 0 or edit.place > len(places):
            result.append((edit.name, edit.value))
        elif edit.value:
            result[places[edit.place - 1]] = (edit.name, edit.value)
        else:
            del result[places[edit.place - 1]]
    return result


def values_of(headers, name):
    return [value for field, value in headers if field.lower() == name.lower()]


def stamped(asked, headers=HEADERS, values=VALUES, reference=None):
    made = stamp(Stream.model_validate({"name": "news", "headers": asked}), headers, values, reference)
    return applied(headers, made.edits), made.left_off


@pytest.mark.parametrize(
    ("asked", "name", "after"),
    [
        ({"Feedback-ID": "{tag}:{stream}:mail"}, "Feedback-ID", ["c-17:news:mail"]),
        ({"X-Mailer": "Retour"}, "X-Mailer", ["Retour"]),
        ({"X-Mailer": False}, "X-Mailer", []),
        ({"X-Mailer": {"add": "three"}}, "X-Mailer", ["one", "two", "three"]),
        ({"X-Mailer": {"default": "three"}}, "X-Mailer", ["one", "two"]),
        ({"X-New": {"default": "{recipient} {recipient_domain}"}}, "X-New", ["bob@example.net example.net"]),
        ({"X-New": "Grüße"}, "X-New", ["=?utf-8?b?R3LDvMOfZQ==?="]),
        ({"X-New": "{{tag}}"}, "X-New", ["{c-17}"]),
    ],
)
def test_fields_are_set_added_defaulted_and_removed(asked, name, after):
    """Text sets a field, false removes all of that name, add and default do what they say."""
    header, left_off = stamped(asked)
    assert (values_of(header, name), left_off) == (after, ())


@pytest.mark.parametrize("hostile", ["a\r\nBcc: x@example.net", "a\nb", "a\0b", "a\udcffb", "a\x7f"])
@pytest.mark.parametrize("placeholder", ["tag", "recipient"])
def test_a_value_that_cannot_stand_in_a_header_leaves_the_field_off(hostile, placeholder):
    """CR, LF, NUL and surrogates from a placeholder never reach the message; what was there stays."""
    header, left_off = stamped({"X-Mailer": "x {" + placeholder + "}"}, values=VALUES | {placeholder: hostile})
    assert header == HEADERS
    assert left_off == ("X-Mailer",)


@pytest.mark.parametrize(
    ("name", "asked", "after"),
    [
        ("List-Unsubscribe", "<https://example.com/u?t={tag}>", "<https://example.com/u?t=Gr%C3%BC%C3%9Fe%20%3E%22>"),
        (
            "List-Help",
            "<mailto:help@example.com?subject={tag}>",
            "<mailto:help@example.com?subject=Gr%C3%BC%C3%9Fe%20%3E%22>",
        ),
        ("Feedback-ID", "{tag}:{stream}", None),
        ("Message-ID", "<{tag}@example.com>", None),
        ("Content-Location", "{tag}", None),
        ("List-Unsubscribe", "<https://grüße.example/>", None),
    ],
)
def test_no_encoded_words_stand_in_a_structured_field(name, asked, after):
    """In a URI the tag is percent-encoded; where that would mean another thing, the field is left off and named."""
    header, left_off = stamped({name: asked}, values=VALUES | {"tag": 'Grüße >"'})
    assert (values_of(header, name), left_off) == (([after], ()) if after else ([], (name,)))


def test_a_uri_stays_as_it_is_where_it_can() -> None:
    """Separators, escapes and everything else that may stand in a URI come out as they went in."""
    tag = "a=1&b=%20~/+;,:@!$'()*-._?#[c]"
    header, _ = stamped({"List-Unsubscribe": "<https://example.com/u?{tag}>"}, values=VALUES | {"tag": tag})
    assert values_of(header, "List-Unsubscribe") == [f"<https://example.com/u?{tag}>"]


def test_a_placeholder_without_a_value_leaves_the_field_off():
    """With several recipients there is no {recipient}, and without a Retour-Tag no {tag}."""
    header, left_off = stamped({"A": "{recipient}", "B": "{tag}", "C": "c"}, values={"stream": "news"})
    assert left_off == ("A", "B")
    assert values_of(header, "C") == ["c"]


def test_the_reference_replaces_what_claims_to_be_one():
    """One Retour-Ref, ours; `headers = false` leaves even that off; what came with the message goes in any case."""
    headers = [*HEADERS, ("Retour-Ref", "old"), ("Retour-Tag", "c-17"), ("Retour-Ref", "older")]
    header, _ = stamped({}, headers, reference="new")
    assert values_of(header, "Retour-Ref") == ["new"]
    assert values_of(header, "Retour-Tag") == []
    header, _ = stamped(False, headers, reference="new")
    assert values_of(header, "Retour-Ref") == []
    assert values_of(header, "Retour-Tag") == []


def test_a_message_without_anything_to_change_gets_no_edit():
    """No edit, no round trip."""
    assert stamp(Stream.model_validate({"name": "news"}), HEADERS, VALUES, None).edits == ()
    assert HeaderEdit("Retour-Ref", 0, "r") in stamp(Stream.model_validate({"name": "n"}), [], VALUES, "r").edits


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "B"]), st.just("x")), max_size=6), st.sampled_from(["set", False]))
def test_after_setting_there_is_one_and_after_removing_none(headers, asked):
    """Whatever was there before: in any order, in any case, any number of times."""
    header, _ = stamped({"A": asked}, headers)
    assert values_of(header, "a") == (["set"] if asked else [])
    assert values_of(header, "b") == values_of(headers, "b")


def test_a_tag_is_trimmed_and_bounded():
    """An application's reference is cut to 200 characters; an empty one is none."""
    assert tag_of([("retour-TAG", "  c-17 ")]) == "c-17"
    assert tag_of([("Retour-Tag", " ")]) is None
    assert tag_of([]) is None
    assert len(tag_of([("Retour-Tag", "x" * 900)]) or "") == 200


def test_a_copy_has_the_header_as_it_goes_out():
    """Changed, added and removed fields by their places; folded lines and octets that are no UTF-8 stay."""
    headers = [("A", "1"), ("B", "one\n\ttwo"), ("a", "2"), ("C", "\udcff"), ("D", "gone")]
    edits = [HeaderEdit("D", 1, ""), HeaderEdit("A", 2, ""), HeaderEdit("A", 1, "new"), HeaderEdit("E", 0, "added")]
    assert edited(headers, edits) == b"A: new\r\nB: one\r\n\ttwo\r\nC: \xff\r\nE: added\r\n\r\n"
