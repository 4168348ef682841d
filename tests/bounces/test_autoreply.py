"""Auto-replies: holiday notices, people who left, challenges; and what only looks like one."""

from __future__ import annotations

import pytest

from retour_bounces import read


def answer(text: str, *header: str, subject: str = "Re: News") -> tuple[str, str | None, int]:
    """Kind, reason and number of reports of an answer."""
    head = "\n".join(("From: Ann <ann@example.com>", "To: us@example.org", f"Subject: {subject}", *header))
    report = read(f"{head}\n\n{text}\n".encode())
    return report.kind, report.reason, len(report.reports)


@pytest.mark.parametrize(
    "text",
    [
        "I no longer work at Example. Please write to bob@example.com.",
        "Ann has left the company.",
        "This address is no longer in use.",
        "Frau Beispiel ist nicht mehr im Unternehmen.",
        "Elle ne travaille plus chez nous.",
        "Ya no trabaja en esta empresa.",
        "Não trabalha mais aqui.",
        "Non lavora più con noi.",
        "Zij werkt niet meer bij ons.",
        "Она больше не работает в компании.",
        "退職いたしました。",
    ],
)
def test_who_left_is_told_from_who_is_away(text: str) -> None:
    """The reason is "left" in the languages that occur."""
    assert answer(text, "Auto-Submitted: auto-replied") == ("autoreply", "left", 0)


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "X-Autoreply: yes",
        "X-Autorespond: News",
        "Precedence: auto_reply",
        "X-Vacation: on",
    ],
)
def test_programs_name_themselves_in_many_fields(header: str) -> None:
    """Any of the fields in use makes an auto-reply."""
    assert answer("I am away.", header) == ("autoreply", "vacation", 0)


@pytest.mark.parametrize(
    "subject",
    ["Automatic reply: News", "Out of office", "Abwesenheitsnotiz: News", "Réponse automatique", "自動返信"],
)
def test_a_subject_alone_makes_an_auto_reply(subject: str) -> None:
    """Programs that set no field are known by their Subject."""
    assert answer("I am away.", subject=subject) == ("autoreply", "vacation", 0)


@pytest.mark.parametrize("path", ["Return-Path: <>", "Return-Path: <ann@example.com>"])
@pytest.mark.parametrize(
    "text",
    [
        "I cannot be reached until Monday. bob@example.com can help.",
        "I am away, mail is delayed. For urgent things bob@example.com is there.",
        "My mailbox is full and I could not be reached; bob@example.com reads the rest.",
    ],
)
def test_an_answer_with_a_null_sender_that_marks_itself_by_nothing_fails_nobody(path: str, text: str) -> None:
    """vacation(1) of old sends from the null sender and sets no field."""
    kind, _, count = answer(text, path)
    assert (kind in ("autoreply", "not-a-report"), count) == (True, 0)


def test_words_about_failures_in_a_holiday_notice_count_for_nothing() -> None:
    """A notice that says "could not be delivered" is not a bounce."""
    text = "Mail to ann@example.com could not be delivered: user unknown, mailbox full, I am at the beach."
    assert answer(text, "Auto-Submitted: auto-replied", subject="Undeliverable: News")[::2] == (
        "autoreply",
        0,
    )


@pytest.mark.parametrize(
    "text",
    [
        "Please confirm that you sent this: click the link below to deliver your message.",
        "To prove that you are human, reply to this message.",
    ],
)
def test_a_challenge_is_told_apart(text: str) -> None:
    """A message that asks for proof of a human has kind challenge."""
    assert answer(text, "Auto-Submitted: auto-replied") == ("challenge", None, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Just this once, click the link below so that I get your mail: http://challenge.example/1",
        "Your message is being held until you register.",
        "Damit Ihre Nachricht ankommt, bitte ich, die Nachricht einmalig zu bestätigen.",
        "Письмо задержано: подтвердите, что вы не робот.",
        "Sua mensagem ainda não chegou: confirme que você não é um robô.",
        "Please follow this link, and your address is added to the recipient's allowed list.",
    ],
)
def test_a_challenge_without_any_mark_is_told_by_its_null_sender(text: str) -> None:
    """Who wants no answer by program and asks for proof has answered by program; with a sender anybody may ask."""
    assert answer(text, "Return-Path: <>") == ("challenge", None, 0)
    assert answer(text, "Return-Path: <ann@example.com>")[0] == "not-a-report"


def test_a_challenge_is_told_by_its_subject() -> None:
    """Its text says what is asked for."""
    text = "Para que ela seja entregue, confirme que você não é um robô."
    assert answer(text, "Return-Path: <ann@example.com>", subject="Confirme sua mensagem: News") == (
        "challenge",
        None,
        0,
    )


def test_a_holiday_notice_without_any_mark_is_told_by_its_null_sender() -> None:
    """As it is by those that follow no standard but this."""
    text = "I am out of the office until Monday."
    assert answer(text, "Return-Path: <>") == ("autoreply", "vacation", 0)
    assert answer(text, "Return-Path: <ann@example.com>")[0] == "not-a-report"


def test_a_null_sender_alone_makes_no_answer_by_program() -> None:
    """Neither does one that asks for a subscription."""
    for text in ("See you on Monday.", "Please confirm that you want to subscribe."):
        assert answer(text, "Return-Path: <>") == ("not-a-report", None, 0)


SAID = """This message was created automatically by the mail software of example.com.

A message that you sent could not be delivered:

  user@example.com
    550 5.1.1 User unknown
"""
BACK = """
------ This is a copy of your message. ------

From: us@example.org
To: user@example.com
Message-ID: <1@example.org>
"""
MARKED = "Auto-Submitted: auto-replied"


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (SAID + BACK, ("Return-Path: <ann@example.com>",)),
        (SAID + BACK, ("Return-Path: <>",)),
        (SAID, ("Return-Path: <>",)),
        (SAID, ("X-Failed-Recipients: user@example.com",)),
        ("Dear Sir,\n\nYour message could not be delivered:\n\nuser@example.com: 550 5.1.1 no\n" + BACK, ()),
    ],
)
def test_a_report_that_calls_itself_an_answer_is_a_bounce(text: str, header: tuple[str, ...]) -> None:
    """Servers that write under a name of their own mark their reports as answers by program."""
    head = ("From: Support <ann@example.com>", "To: us@example.org", "Subject: Mail delivery failed", MARKED, *header)
    report = read("\n".join((*head, "", text)).encode())
    assert report.kind == "bounce"
    assert [(one.recipient, one.action) for one in report.reports] == [("user@example.com", "failed")]


@pytest.mark.parametrize(
    ("text", "header", "subject"),
    [
        ("I am away.\n" + SAID + BACK, (), "Mail delivery failed"),
        (SAID + BACK, (), "Re: Mail delivery failed"),
        (SAID + BACK, ("In-Reply-To: <2@example.org>",), "Mail delivery failed"),
        (SAID + BACK, ("List-Id: <l.example.org>",), "Mail delivery failed"),
        (SAID, ("Return-Path: <ann@example.com>",), "Mail delivery failed"),
        (SAID + BACK, ("Return-Path: <>",), "June letter"),
    ],
)
def test_an_answer_that_quotes_a_report_fails_nobody(text: str, header: tuple[str, ...], subject: str) -> None:
    """A holiday notice may repeat all that it answers."""
    assert answer(text, MARKED, *header, subject=subject)[::2] == ("autoreply", 0)


@pytest.mark.parametrize("sender", ["<>", "", '""', ' "" <>'])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The address user@example.com does not exist. Your mail was not delivered.", "userunknown"),
        ("Sorry: mailbox full: user@example.com", "mailboxfull"),
        ("user@example.com: 550 5.1.1 No such user", "userunknown"),
    ],
)
def test_nobody_but_a_mail_system_writes_as_nobody(sender: str, text: str, reason: str) -> None:
    """An empty From field is a mail system's, whatever else stands in the header."""
    head = f"From: {sender}\nTo: us@example.org\nIn-Reply-To: <1@example.org>\n{MARKED}\n\n"
    (one,) = read(f"{head}{text}\n".encode()).reports
    assert (one.recipient, one.action, one.reason) == ("user@example.com", "failed", reason)


def test_what_nobody_writes_without_a_reason_is_no_report() -> None:
    """Words alone do not make one, and whoever has an envelope of their own only hides."""
    assert read(b"From: <>\nTo: us@example.org\n\nWrite to user@example.com or wait.\n").kind == "not-a-report"
    text = b"To: us@example.org\n\nMailbox full: user@example.com\n"
    assert read(b"From: <>\n" + text).kind == "bounce"
    assert read(b"Return-Path: <x@example.net>\nFrom: <>\n" + text).kind == "not-a-report"


GENERATED, SUPPRESS, ANSWERS = (
    "Auto-Submitted: auto-generated",
    "X-Auto-Response-Suppress: All",
    "In-Reply-To: <1@example.org>",
)
NULL, BULK = "Return-Path: <>", "Precedence: bulk"
UNKNOWN = "Egun on, oporretan nago."
"""Words of a language of which no phrase is known."""


@pytest.mark.parametrize(
    "marks",
    [
        (GENERATED, SUPPRESS),
        (GENERATED, ANSWERS),
        (GENERATED, NULL),
        (SUPPRESS, ANSWERS),
        (SUPPRESS, NULL),
        (GENERATED, BULK),
    ],
)
def test_two_marks_of_an_answer_by_program_need_no_words(marks: tuple[str, ...]) -> None:
    """Exchange and ticket systems answer in all languages."""
    assert answer(UNKNOWN, *marks, subject="Erantzuna: News") == ("autoreply", "vacation", 0)


@pytest.mark.parametrize("marks", [(GENERATED,), (SUPPRESS,), (ANSWERS,), (NULL,), (BULK,), (ANSWERS, NULL, BULK)])
def test_one_mark_that_stands_on_other_mail_too_is_not_enough(marks: tuple[str, ...]) -> None:
    """Programs send much that is no answer, people answer, and some write without a sender."""
    assert answer(UNKNOWN, *marks) == ("not-a-report", None, 0)


@pytest.mark.parametrize(
    ("text", "subject", "header"),
    [
        (UNKNOWN, "News", ("List-Id: <l.example.org>",)),
        (UNKNOWN, "Undeliverable: News", ()),
        (UNKNOWN, "Logwatch for host.example.com", ()),
        (f"{UNKNOWN}\n\n----- Original message -----\n\nFrom: us@example.org\nSubject: News\n", "News", ()),
    ],
)
def test_marks_on_what_may_be_a_report_or_a_lists_mail_make_no_answer(
    text: str, subject: str, header: tuple[str, ...]
) -> None:
    """Reports have these marks too, and a postmaster should see one that nobody can read."""
    assert answer(text, GENERATED, SUPPRESS, *header, subject=subject)[0] == "not-a-report"


@pytest.mark.parametrize(
    "text",
    ["Ann ei tööta enam meie juures.", "Άννα δεν εργάζεται πλέον εδώ.", "Ганна більше не працює у нас."],
)
def test_who_left_is_known_without_a_mark_of_its_own(text: str) -> None:
    """The marks say that it is an answer, the words that its writer is gone."""
    assert answer(text, GENERATED, ANSWERS, subject="Re: News") == ("autoreply", "left", 0)


@pytest.mark.parametrize(
    "subject",
    [
        "Automaatvastus", "Automātiska atbilde", "Automatiska atbilde", "Automatinis atsakymas", "Samodejni odgovor",
        "Автоматичен отговор", "Автоматична відповідь", "Αυτόματη απάντηση", "תשובה אוטומטית", "رد تلقائي",
        "ตอบกลับอัตโนมัติ", "Trả lời tự động", "Balasan otomatis", "Răspuns automat", "Automatikus válasz",
    ],
)  # fmt: skip
def test_exchanges_subject_is_known_in_its_languages(subject: str) -> None:
    """It is the only mark where a gateway took the fields off."""
    assert answer("...", subject=f"{subject}: News") == ("autoreply", "vacation", 0)


def test_a_program_may_answer_for_a_person_with_a_mail_systems_envelope() -> None:
    """Its From field names the person; a report of the same envelope quotes a refusal or brings a message back."""
    path = "Return-Path: <MAILER-DAEMON@example.com>"
    for marks in (("X-POST-MessageClass: 9; Autoresponder",), (MARKED,)):
        assert answer("I am away until Monday.", path, *marks) == ("autoreply", "vacation", 0)
    assert answer("I am away until Monday.", path, subject="Automatic response") == ("autoreply", "vacation", 0)
    refusal = "Your message could not be delivered:\n\n<user@example.com>: 550 5.1.1 User unknown"
    assert answer(refusal, path, MARKED, subject="Undelivered mail")[0] == "bounce"
