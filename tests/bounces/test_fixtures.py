"""Fixtures: reports of real servers are read as what was done to them, and nobody is called failed who is
not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retour_bounces import Report, read

FOLDER = Path(__file__).parent / "fixtures"
LABELS: list[dict[str, Any]] = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))
SUCCESS = {"delivered", "relayed", "expanded"}


def reported(label: dict[str, Any]) -> Report:
    """The report of a fixture."""
    return read((FOLDER / label["file"]).read_bytes())


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label["file"])
def test_a_real_report_is_read_as_what_happened(label: dict[str, Any]) -> None:
    """Kind, recipients and reasons are those of the scenario."""
    report = reported(label)
    kinds = SUCCESS if label["kind"] == "success" else {label["kind"]}
    assert report.kind in kinds
    actions = {"bounce": {"failed"}, "delayed": {"delayed"}}.get(label["kind"], SUCCESS)
    named = {one.recipient for one in report.reports if one.action in actions}
    assert named == set(label.get("failed") or label.get("delayed") or label.get("delivered") or ())
    for one in report.reports:
        wanted = (label.get("failed") or {}).get(one.recipient)
        assert wanted is None or one.reason == wanted
    if label["kind"] == "autoreply":
        assert report.reason == label["reason"]


def test_a_host_that_nobody_answers_at_is_the_networks_failure() -> None:
    """However a server says that the connection was refused: not the sender's fault, so it counts as configured."""
    told = [one for label in LABELS if label["scenario"] in ("refused", "waiting") for one in reported(label).reports]
    assert {one.blame for one in told if one.recipient == "user@refused.example" and one.action == "failed"} == {
        "network"
    }


def test_what_is_said_of_one_recipient_does_not_explain_another() -> None:
    """One host defers, nobody listens at the other: each recipient has the reason of their own side."""
    for server in ("courier", "postfix", "sendmail"):
        data = (FOLDER / f"{server}-waiting-2.eml").read_bytes()
        reasons = {one.recipient: one.reason for one in read(data).reports}
        assert reasons == {"grey@remote.example": "ratelimited", "user@refused.example": "networkerror"}, server


def test_at_least_60_messages_that_are_no_failures_report_none() -> None:
    """Warnings, success reports, holiday notices and receipts: nobody is reported as failed."""
    harmless = [label for label in LABELS if label["kind"] != "bounce"]
    assert len(harmless) >= 60
    for label in harmless:
        assert not [one for one in reported(label).reports if one.action == "failed"], label["file"]


def test_the_message_that_came_back_is_known_again() -> None:
    """Retour's reference and the Message-ID are found in every report that returns a header."""
    for label in LABELS:
        data = (FOLDER / label["file"]).read_bytes()
        if f"Retour-Ref: ref-{label['scenario']}".encode() in data:
            original = reported(label).original
            assert original.retour_ref == f"ref-{label['scenario']}", label["file"]
            assert original.message_id == f"<{label['scenario']}.1@origin.example>", label["file"]


def test_every_fixture_has_a_label() -> None:
    """No report lies about unread."""
    assert {path.name for path in FOLDER.glob("*.eml")} == {label["file"] for label in LABELS}


@pytest.mark.parametrize("server", sorted({label["server"] for label in LABELS}))
def test_a_real_report_cut_anywhere_names_no_other_and_fails_nobody_new(server: str) -> None:
    """Cut short, it names only recipients that it names whole; no success or delay becomes a failure."""
    for label in (one for one in LABELS if one["server"] == server):
        data = (FOLDER / label["file"]).read_bytes()
        whole = reported(label)
        names = {name for one in whole.reports for name in (one.recipient, one.original_recipient, one.inner_recipient)}
        for end in range(0, len(data), max(1, len(data) // 25)):
            cut = read(data[:end]).reports
            assert {one.recipient for one in cut} <= names, (label["file"], end)
            assert whole.kind == "bounce" or not [one for one in cut if one.action == "failed"], (
                label["file"],
                end,
            )
