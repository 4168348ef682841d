"""Delays: a server that still tries has failed nobody, whatever fields it sets and whatever it quotes."""

from __future__ import annotations

import pytest

from retour_bounces import Report, read

NAMED = "X-Failed-Recipients: user@example.com\nAuto-Submitted: auto-replied\n"
DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.example.net>"


def report(text: str, subject: str = "Message status", header: str = NAMED) -> Report:
    """A report that names the recipient in a field."""
    head = f"Return-Path: <>\n{header}From: {DAEMON}\nTo: us@example.org\nSubject: {subject}\nMIME-Version: 1.0\n"
    return read(f"{head}Content-Type: text/plain; charset=utf-8\n\n{text}\n".encode())


DELAYS = {
    "English": "Delivery incomplete. A temporary problem with user@example.com. Delivery will be retried.",
    "a list": "Your message waits for:\n\n  user@example.com\n\nWe will keep trying for 2 more days.",
    "not yet": "A message that you sent has not yet been delivered to:\n\n  user@example.com\n\nNo action is required.",
    "German": "Zustellung unvollständig: user@example.com. Es folgen weitere Zustellversuche.",
    "French": "Un problème temporaire pour user@example.com. Le serveur effectuera de nouvelles tentatives.",
    "Spanish": "Entrega incompleta para user@example.com. El servidor volverá a intentarlo.",
    "Portuguese": "Problema temporário com user@example.com. O servidor tentará novamente.",
    "Italian": "Consegna incompleta a user@example.com. Il server riproverà.",
    "Dutch": "Bezorging onvolledig bij user@example.com. De server zal het opnieuw proberen.",
    "Polish": "Wystąpił tymczasowy problem: user@example.com. Serwer będzie ponawiać próby.",
    "Czech": "Nastal dočasný problém: user@example.com. Server provede další pokusy.",
    "Swedish": "Ett tillfälligt problem: user@example.com. Servern kommer att försöka igen.",
    "Danish": "Der er et midlertidigt problem: user@example.com. Serveren prøver igen.",
    "Norwegian": "Det er et midlertidig problem: user@example.com. Serveren prøver igjen.",
    "Finnish": "Tilapäinen ongelma: user@example.com. Toimitusta yritetään uudelleen.",
    "Turkish": "Geçici bir sorun oluştu: user@example.com. Gönderim yeniden denenecek.",
    "Hungarian": "Átmeneti probléma: user@example.com. A kiszolgáló újra megpróbálja.",
    "Romanian": "A apărut o problemă temporară: user@example.com. Serverul va reîncerca.",
    "Greek": "Παρουσιάστηκε προσωρινό πρόβλημα: user@example.com.",
    "Russian": "Временная проблема: user@example.com. Повторные попытки будут продолжены.",
    "Ukrainian": "Виникла тимчасова проблема: user@example.com.",
    "Hebrew": "אירעה בעיה זמנית: user@example.com",
    "Arabic": "حدثت مشكلة مؤقتة: user@example.com",
    "Vietnamese": "Đã xảy ra sự cố tạm thời: user@example.com",
    "Indonesian": "Terjadi masalah sementara: user@example.com. Server akan mencoba lagi.",
    "Japanese": "一時的な問題のため user@example.com にまだ配信されていません。再試行します。",
    "Chinese": "发送到 user@example.com 时出现暂时性问题，系统将重试。",
    "Korean": "일시적인 문제로 user@example.com 에 아직 전송되지 않았습니다. 다시 시도합니다.",
}


@pytest.mark.parametrize("name", DELAYS)
@pytest.mark.parametrize("reply", ["", "\n\nThe response was:\n\n452 4.2.2 user@example.com: mailbox full"])
def test_a_recipient_whom_the_server_still_tries_has_not_failed(name: str, reply: str) -> None:
    """Some programs name the delayed in X-Failed-Recipients too; what they write says that they try again."""
    found = report(DELAYS[name] + reply)
    assert (found.kind, [(one.recipient, one.action) for one in found.reports]) == (
        "delayed",
        [("user@example.com", "delayed")],
    )


@pytest.mark.parametrize("subject", ["Delivery Status Notification (Delay)", "Warning: message delayed 24 hours"])
def test_the_subject_of_a_delay_suffices(subject: str) -> None:
    """The text may be in any language."""
    assert report("Saatja: user@example.com\n\n451 4.3.0 hetkel mitte", subject).kind == "delayed"


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Message status", "It could not be delivered to user@example.com.\n\n452 4.2.2 full, will be retried"),
        (
            "Message status",
            "It failed:\n\n  user@example.com\n    450 4.2.0 message has been deferred\n    no more time",
        ),
        ("Delivery Status Notification (Failure)", "Delivery to user@example.com has been delayed for 5 days."),
        ("Returned to sender", "There was a temporary problem with user@example.com."),
        ("Message status", "Delivery to user@example.com has been delayed. We are giving up."),
    ],
)
def test_words_of_delay_in_a_report_of_failure_are_not_believed(subject: str, text: str) -> None:
    """Where they stand in a reply of the other server, or the server says that the message comes back."""
    assert [(one.recipient, one.action) for one in report(text, subject).reports] == [("user@example.com", "failed")]


def test_the_failed_are_told_from_the_delayed() -> None:
    """A report of both names the failed in its field."""
    text = (
        "The following could not be delivered:\n\n  user@example.com\n\n"
        "The following will be retried:\n\n  late@example.net"
    )
    assert [(one.recipient, one.action) for one in report(text).reports] == [("user@example.com", "failed")]
