"""Many makers: reports of servers and in languages that cannot run here, and mail that fails nobody."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from retour_bounces import read

HERE = Path(__file__).parent
RETURNED: list[dict[str, Any]] = tomllib.loads((HERE / "returned.toml").read_text(encoding="utf-8"))["returned"]
HARMLESS: list[dict[str, Any]] = tomllib.loads((HERE / "harmless.toml").read_text(encoding="utf-8"))["harmless"]
DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.example.net>"
FIELDS = "Reporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; user@example.com\nAction: failed\nStatus: {status}\n"
ORIGINAL = "From: us@example.org\nTo: user@example.com\nMessage-ID: <1@example.org>\nSubject: News\n"


TO = pytest.mark.parametrize("to", ["us@example.org", "b+4fx2k1@bounce.example.org"], ids=["own", "verp"])


def message(case: dict[str, Any], sender: str, subject: str, kind: str, body: str) -> bytes:
    """A message as bytes."""
    head = f"From: {case.get('from', sender)}\nTo: us@example.org\nSubject: {case.get('subject', subject)}\n"
    return f"{head}{case.get('header', '')}MIME-Version: 1.0\nContent-Type: {kind}\n\n{body}\n".encode()


def returned(case: dict[str, Any]) -> bytes:
    """The report of a case."""
    fields = case.get("fields")
    if "reply" in case:
        fields = FIELDS.format(status=case["status"]) + f"Diagnostic-Code: smtp; {case['reply']}\n"
    kind, body = "text/plain; charset=utf-8", case.get("text", "See below.")
    if fields:
        text = "html" if "<p>" in body else "plain"
        parts = (
            f"text/{text}; charset=utf-8\n\n{body}",
            f"message/delivery-status\n\n{fields}",
            f"text/rfc822-headers\n\n{ORIGINAL}",
        )
        kind = 'multipart/report; report-type=delivery-status; boundary="b1"'
        body = "".join(f"--b1\nContent-Type: {part}\n" for part in parts) + "--b1--"
    return message(case, DAEMON, "Undelivered Mail Returned to Sender", kind, body)


def sent_to(to: str, data: bytes) -> bytes:
    """The message with another of our addresses in its To field."""
    return data.replace(b"\nTo: us@example.org\n", f"\nTo: {to}\n".encode(), 1)


@TO
@pytest.mark.parametrize("case", RETURNED, ids=lambda case: case["name"])
def test_a_failure_is_read_from_any_writer(case: dict[str, Any], to: str) -> None:
    """Recipients are exact ("" where nobody is named), never the sender, whichever of our addresses the report comes to;
    reason, blame, type and status are those that a postmaster would say."""
    report = read(sent_to(to, returned(case)))
    failed = [one for one in report.reports if one.action == "failed"]
    assert report.kind == "bounce"
    assert [one.recipient or "" for one in failed] == case.get("recipients", ["user@example.com"])
    assert [failed[0].reason, failed[0].blame, failed[0].type, failed[0].status] == case["want"]


@TO
@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: case["name"])
def test_what_only_talks_of_failure_fails_nobody(case: dict[str, Any], to: str) -> None:
    """No failed recipient, the right kind, and a recipient who is away is not gone."""
    data = message(case, "", "", case.get("type", "text/plain; charset=utf-8"), case["text"])
    report = read(sent_to(to, data))
    assert [one.recipient for one in report.reports if one.action == "failed"] == []
    assert report.kind in case.get("kinds", ["not-a-report"])
    assert case.get("reason") in (None, report.reason)
