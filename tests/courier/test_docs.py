"""docs/events.md says what the code tells: types, groups, fields, and an example that is what it would write."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from retour_policy.clock import iso_text
from retour_policy.core.hook_events import EVENTS, VERSION, Data, Event

PAGE = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")


def rows(section):
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(.+?)` \|(?:.*\|)? (.+?) \|$", text, re.MULTILINE)


def test_every_type_is_documented_in_the_codes_own_words():
    """And no other."""
    assert dict(rows("Types")) == EVENTS


def test_every_field_is_documented_and_no_other():
    """In the order of the code."""
    assert [name for name, _ in rows("Fields of data")] == [one.name for one in dataclasses.fields(Data)]


def test_the_example_is_what_the_code_writes():
    """Name for name, in that order."""
    example = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    data = Data(**example["data"])
    event = Event(example["type"], 1795293174987, data, id=example["id"])
    written = json.loads(event.to_json())
    assert written == example | {"timestamp": iso_text(event.at)}
    assert list(written) == list(example) and list(written["data"]) == [
        name for name in (one.name for one in dataclasses.fields(Data)) if name in example["data"]
    ]
    assert example["version"] == VERSION
