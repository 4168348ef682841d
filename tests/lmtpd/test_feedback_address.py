"""Complaints at the feedback address: what the returned message carries tells whose; some must be signed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.intake import Intake
from lab.process import workspace
from lab.site import DOMAIN
from lab.wait import wait_until
from retour_cli.context import Context
from retour_policy.messages.signer import Signer

COMPLAINT, OPT_OUT = [("bulk", "complaint")], [("news", "unsubscribe")]
FBL = f"fbl@{DOMAIN}"
SIGNED = "Authentication-Results: mx.example.com; dkim=pass header.d=provider.example header.s=s\n"
"""As the operator's verifier writes it, on top."""


@pytest.fixture(scope="module")
def intake() -> Iterator[Intake]:
    with workspace() as folder:
        intake = Intake(folder)
        text = intake.config.read_text()
        text = text.replace('feedback = ""', f'feedback = "{FBL}"')
        intake.config.write_text(text.replace('authserv_id = ""', 'authserv_id = "mx.example.com"'))
        with intake.service:
            intake.service.wait_ready()
            yield intake


def token(intake: Intake, address: str) -> str:
    """The CFBL-Feedback-ID of the send behind a VERP address."""
    context = Context(intake.config)
    number = int(intake.json("token", "read", address)[0]["id"])
    made = Signer(context.ring, context.clock).feedback(number)
    context.store.close()
    return made


def complained(intake: Intake, to: str, returned: str, *, top: str = "", type_: str = "abuse") -> None:
    """A provider reports what somebody at `to` says, and redacts them."""
    intake.deliver(FBL, top + intake.compose(FBL, type_, to, named=False, returned=returned))


def unmatched(intake: Intake) -> list[bytes]:
    """What waits for postmaster."""
    context = Context(intake.config)
    with context.store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT body FROM outbox WHERE kind = 'forward' ORDER BY id").scalars()
        bodies = [bytes(body) for body in rows]
    context.store.close()
    return bodies


@pytest.mark.parametrize(("type_", "expected"), [("abuse", COMPLAINT), ("opt-out", OPT_OUT), ("virus", [])])
def test_a_complaint_is_known_by_the_reference(intake: Intake, type_: str, expected: list[tuple[str, str]]) -> None:
    """The provider redacts the recipient; our field in the returned header says who it was."""
    to = f"by-reference-{type_}@example.net"
    complained(intake, to, f"Retour-Ref: {intake.made(to, 'static')}\n", type_=type_)
    assert [cause for _, cause in intake.suppressed(to)] == [cause for _, cause in expected]


def test_a_complaint_is_known_by_the_envelope_sender(intake: Intake) -> None:
    """The VERP address that the message had, in its Return-Path: its token is signed."""
    to = "by-sender@example.net"
    complained(intake, to, f"Return-Path: <{intake.made(to)}>\n")
    assert intake.suppressed(to) == COMPLAINT


def test_a_signed_report_is_known_by_the_feedback_id(intake: Intake) -> None:
    """RFC 9477: our token, and a valid signature of the report's author. It is kept, and shown."""
    to = "cfbl@example.net"
    complained(intake, to, f"CFBL-Feedback-ID: {token(intake, intake.made(to))}\n", top=SIGNED)
    assert intake.suppressed(to) == COMPLAINT
    (fact,) = intake.json("events", "--address", to)
    assert fact["authentication"] == "dkim=provider.example"
    assert intake.json("rebuild") == []


@pytest.mark.parametrize(
    "top",
    [
        "",
        SIGNED.replace("pass", "fail"),
        SIGNED.replace("provider", "other"),
        SIGNED.replace("mx.example.com", "mx.elsewhere.example"),
        SIGNED.replace("dkim=pass", "spf=pass").replace("header.d=", "smtp.mailfrom="),
    ],
)
def test_an_unsigned_report_goes_to_postmaster_with_what_is_missing(intake: Intake, top: str) -> None:
    """The token is in the header of the message, for all who see it: without a signature it proves nothing."""
    to, before = "unsigned@example.net", len(unmatched(intake))
    complained(intake, to, f"CFBL-Feedback-ID: {token(intake, intake.made(to))}\n", top=top)
    assert intake.suppressed(to) == []
    (body,) = unmatched(intake)[before:]
    assert body.startswith(b"Retour-Unmatched: CFBL-Feedback-ID is ours, but no valid DKIM signature")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("", b"no Retour-Ref, no CFBL-Feedback-ID and no envelope sender"),
        ("Retour-Ref: made-up\n", b"Retour-Ref is not ours"),
        ("Return-Path: <b-made-up@elsewhere.example>\n", b"its envelope sender is not ours"),
        ("Message-ID: <1@example.com>\n", b"no Retour-Ref"),
    ],
)
def test_what_cannot_be_matched_goes_to_postmaster_with_what_is_missing(
    intake: Intake, returned: str, words: bytes
) -> None:
    """They can ask the provider for it; a Message-ID proves nothing."""
    before = len(unmatched(intake))
    complained(intake, "nobody@example.net", returned, top=SIGNED)
    (body,) = unmatched(intake)[before:]
    assert words in body.partition(b"\r\n")[0] and intake.suppressed("nobody@example.net") == []


def test_the_operator_can_forward_a_complaint(intake: Intake) -> None:
    """As an attachment of a message of their own: what is inside is believed by its token."""
    to = "forwarded@example.net"
    inner = intake.compose(FBL, "abuse", to, named=False, returned=f"Retour-Ref: {intake.made(to, 'static')}\n")
    outer = (
        "From: pm@example.com\nSubject: Fwd: complaint\nMIME-Version: 1.0\n"
        "Content-Type: multipart/mixed; boundary=o\n\n--o\n\nSee below.\n"
        f"--o\nContent-Type: message/rfc822\n\n{inner}\n--o--\n"
    )
    intake.deliver(FBL, outer)
    wait_until(lambda: intake.suppressed(to) == COMPLAINT, what="the complaint")
