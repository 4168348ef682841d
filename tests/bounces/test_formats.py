"""Formats without fields: the shapes of line that mail servers share, in the wording of many of them."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import json

import pytest

from retour_bounces import Report, read
from retour_bounces.report import Original

RETURNED = "Received: from x by y; Mon, 2 Mar 2026 10:00:00 +0000\nMessage-ID: <1@example.org>\nFrom: us@example.org\nTo: user@example.com\nSubject: News\n\nhello\n"


def message(
    body: str, subject: str = "failure notice", sender: str = "MAILER-DAEMON@mx.example.net", *more: str
) -> Report:
    """A report with the text given."""
    head = [f"From: {sender}", "To: b-token@bounces.example.org", f"Subject: {subject}", *more]
    return read(("\n".join(head) + "\n\n" + body).encode())


FORMATS = {
    "qmail": "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\n<user@example.com>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 5.1.1 no such user\nGiving up on 192.0.2.1.\n\n--- Below this line is a copy of the message.\n\n" + RETURNED,
    "vpopmail": "<user@example.com>:\nSorry, no mailbox here by that name. vpopmail (#5.1.1)\n\n--- Below this line is a copy of the message.\n\n" + RETURNED,
    "exim": "A message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  user@example.com\n    SMTP error from remote mail server after RCPT TO:<user@example.com>:\n    host mx.example.com [192.0.2.1]: 550 5.1.1 No such user\n\n------ This is a copy of the message, including all the headers. ------\n\n" + RETURNED,
    "sendmail 8.8": "The original message was received at Mon, 2 Mar 2026\n\n   ----- The following addresses had permanent fatal errors -----\n<user@example.com>\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.com.:\n>>> RCPT To:<user@example.com>\n<<< 550 5.1.1 User unknown\n550 <user@example.com>... User unknown\n\n   ----- Original message follows -----\n\n" + RETURNED,
    "sendmail 5": "   ----- Transcript of session follows -----\nWhile talking to mx.example.com:\n>>> RCPT To:<user@example.com>\n<<< 550 no such user\n550 <user@example.com>... User unknown\n\n   ----- Unsent message follows -----\n" + RETURNED,
    "Exchange 5.5": "Your message\n\n  To:      user@example.com\n  Subject: News\n\ndid not reach the following recipient(s):\n\nuser@example.com on Mon, 2 Mar 2026 10:00:00 +0000\n    The recipient name is not recognized\n    MSEXCH:IMS:EXAMPLE:SITE:HOST 0 (000C05A6) Unknown Recipient\n",
    "Domino": "Your message\n\n  Subject: News\n\nwas not delivered to:\n\n  user@example.com\n\nbecause:\n\n  User user (user@example.com) not listed in Domino Directory\n",
    "IMail": "Unknown user: user@example.com\n\nOriginal message follows.\n\n" + RETURNED,
    "InterScan": "Sent <<< RCPT TO:<user@example.com>\nReceived >>> 550 5.1.1 unknown user.\n\nUnable to deliver message to <user@example.com>.\n",
    "Postfix of old": "I'm sorry to have to inform you that the message returned\nbelow could not be delivered to one or more destinations.\n\n<user@example.com>: unknown user: \"user\"\n\n",
    "DragonFly": "There was an error delivering your mail to <user@example.com>.\n\nmx.example.com [192.0.2.1] did not like our RCPT TO:\n550 5.1.1 User unknown\n\nMessage headers follow.\n\n" + RETURNED,
    "Yahoo": "Sorry, we were unable to deliver your message to the following address.\n\n<user@example.com>:\nRemote host said:\n550 5.1.1 User unknown\n[RCPT_TO]\n\n--- Below this line is a copy of the message.\n\n" + RETURNED,
    "mox": "Delivery has failed permanently for your email to:\n\n\tuser@example.com\n\nNo further deliveries will be attempted.\n\nError during the last delivery attempt:\n\n\t550 5.1.1 no such user\n",
    "Google of old": "Delivery to the following recipient failed permanently:\n\n     user@example.com\n\nTechnical details of permanent failure:\nThe error that the other server returned was: 550 550 5.1.1 User unknown (state 14).\n\n----- Original message -----\n\n" + RETURNED,
    "MailMarshal": "Could not be delivered because of\n\n550 5.1.1 User unknown\n\nThe following recipients were affected:\n    user@example.com\n\n",
    "LSMTP": "--> Error description:\nError-for:  user@example.com\nError-Code: 3\nError-Text: No such user\n\n",
    "German": "Ihre Nachricht konnte nicht zugestellt werden:\n\n  user@example.com\n\nDer Empfänger existiert nicht.\n",
    "French": "Votre message n'a pas pu être remis à\n\n  user@example.com\n\nUtilisateur inconnu\n",
    "Spanish": "Su mensaje no se pudo entregar a:\n\n  user@example.com\n\nUsuario desconocido\n",
    "Portuguese": "Sua mensagem não pôde ser entregue a:\n\n  user@example.com\n\nUsuário inexistente\n",
    "Italian": "Impossibile recapitare il messaggio a:\n\n  user@example.com\n\nutente sconosciuto\n",
    "Dutch": "Uw bericht kon niet worden bezorgd bij:\n\n  user@example.com\n\nonbekende gebruiker\n",
    "Russian": "Ваше письмо не может быть доставлено:\n\n  user@example.com\n\nпользователь не найден\n",
    "Japanese": "次の宛先に配信できませんでした。\n\n  user@example.com\n\nユーザーが見つかりません\n",
    "Chinese": "您的邮件无法投递:\n\n  user@example.com\n\n用户不存在\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_an_unknown_user_is_read_from_the_words_of_many_servers(name: str) -> None:
    """Recipient, failure and reason are found whatever server wrote the text."""
    report = message(FORMATS[name])
    assert report.kind == "bounce"
    assert [(one.recipient, one.action) for one in report.reports] == [("user@example.com", "failed")]
    assert report.reports[0].reason in ("userunknown", "filtered")
    assert report.reports[0].type == "hard"
    assert report.reports[0].blame == "recipient"


@pytest.mark.parametrize("name", [name for name, text in FORMATS.items() if RETURNED in text])
def test_the_returned_header_is_found_behind_the_text(name: str) -> None:
    """The separator's wording does not matter."""
    assert message(FORMATS[name]).original.message_id == "<1@example.org>"


def test_several_recipients_keep_their_own_errors() -> None:
    """Each address line is read with what stands under it."""
    report = message(
        "could not be delivered:\n\n<a@example.com>:\nmailbox is full\n\n<b@example.com>:\n550 5.1.1 user unknown\n"
    )
    assert [(one.recipient, one.reason) for one in report.reports] == [
        ("a@example.com", "mailboxfull"),
        ("b@example.com", "userunknown"),
    ]


def test_the_address_before_forwarding_is_kept_from_words() -> None:
    """Exim's "generated from" and sendmail's "expanded from" name the address that the sender knew."""
    report = message(
        "The following address(es) failed:\n\n  new@example.com\n    (generated from old@example.net)\n    mailbox is full\n"
    )
    assert [(one.recipient, one.original_recipient) for one in report.reports] == [
        ("new@example.com", "old@example.net")
    ]


def test_a_new_address_is_not_the_one_that_failed() -> None:
    """ "Please try new@..." is no failure of the new address."""
    report = message(
        "There was an error delivering your mail to <old@example.com>.\n\n551 5.1.6 User has moved to new@example.net\n"
    )
    assert [(one.recipient, one.reason) for one in report.reports] == [("old@example.com", "hasmoved")]


def test_x_failed_recipients_against_the_text_is_told() -> None:
    """When header and text name different recipients, the report says so."""
    report = message(
        "The following address(es) failed:\n\n  b@example.com\n    mailbox is full\n",
        "x",
        "MAILER-DAEMON@x.example",
        "X-Failed-Recipients: a@example.com",
    )
    assert [one.recipient for one in report.reports] == ["a@example.com"]
    assert "b@example.com" in (report.reports[0].contradiction or "")


@pytest.mark.parametrize(
    "text",
    [
        "THIS IS A WARNING MESSAGE ONLY.\nYOU DO NOT NEED TO RESEND YOUR MESSAGE.\n\nDelivery to the following recipient has been delayed:\n\n     user@example.com\n",
        "   ----- The following addresses had transient non-fatal errors -----\n<user@example.com>\n\n   ----- Transcript of session follows -----\n<user@example.com>... Deferred: Connection timed out\nWarning: message still undelivered after 4 hours\nWill keep trying until message is 5 days old\n",
        "A message that you sent has not yet been delivered to one or more of its\nrecipients after 2 days.\n\nThe message has not yet been delivered to the following addresses:\n\n  <user@example.com>\n",
        "Die Zustellung verzögert sich:\n\n  user@example.com\n",
    ],
)
def test_a_warning_is_no_failure(text: str) -> None:
    """Delays are delayed, never failed."""
    report = message(text, "Warning: could not send message for past 4 hours")
    assert report.kind == "delayed"
    assert [(one.recipient, one.action) for one in report.reports] == [("user@example.com", "delayed")]


def test_amazons_json_is_read() -> None:
    """Bounce, complaint and delivery notices, also with a line break in the middle."""
    mail = {
        "headers": [
            {"name": "Message-ID", "value": "<1@example.org>"},
            {"name": "From", "value": "Us <us@example.org>"},
            {"name": "To", "value": "user@example.com"},
            {"name": "Subject", "value": "News"},
        ]
    }
    bounce = {
        "bounceType": "Permanent",
        "bouncedRecipients": [
            {
                "emailAddress": "user@example.com",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }
        ],
    }
    text = json.dumps({"notificationType": "Bounce", "bounce": bounce, "mail": mail})
    for body in (
        text,
        text.replace("Permanent", "Perma!\n nent"),
        text + "\n\n--\nIf you wish to stop receiving notifications",
        "[EXTERNAL] This mail comes from outside.\n\n" + text,
    ):
        report = message(body + "\n", "AWS Notification Message", "no-reply@sns.amazonaws.com")
        assert [(one.recipient, one.status, one.reason) for one in report.reports] == [
            ("user@example.com", "5.1.1", "userunknown")
        ]
        assert report.original == Original(
            message_id="<1@example.org>", sender="us@example.org", recipient="user@example.com", subject="News"
        )
    complaint = {
        "complainedRecipients": [{"emailAddress": "user@example.com"}],
        "complaintFeedbackType": "abuse",
    }
    report = message(
        json.dumps({"notificationType": "Complaint", "complaint": complaint}) + "\n",
        "AWS",
        "no-reply@sns.amazonaws.com",
    )
    assert (report.kind, report.reason, report.recipient, report.reports) == (
        "complaint",
        "abuse",
        "user@example.com",
        (),
    )


def test_people_who_write_about_bounces_report_none() -> None:
    """A question, an answer or a forwarded report is ordinary mail."""
    quoted = "".join(f"> {line}\n" for line in FORMATS["qmail"].split("\n"))
    for subject in ("Re: failure notice", "Fwd: failure notice", "Mail trouble?"):
        report = message(
            f"Hello,\n\nwhy do I get this?\n\n{quoted}",
            subject,
            "Ann <ann@example.com>",
            "In-Reply-To: <1@x>",
        )
        assert (report.kind, report.reports) == ("not-a-report", ())


@pytest.mark.parametrize(
    "line",
    [
        "Failed recipients: a@example.com, b@example.com",
        "Your message could not be delivered to a@example.com, <b@example.com>.",
        "Undeliverable to: a@example.com; b@example.com",
    ],
)
def test_several_recipients_on_one_line_are_all_read(line: str) -> None:
    """A list with commas between names them all."""
    assert [one.recipient for one in message(line + "\n").reports] == ["a@example.com", "b@example.com"]


@pytest.mark.parametrize(
    "line",
    [
        "User user@example.com unknown.",
        "550 5.1.1 user@example.com User unknown",
        "[user@example.com] no such user",
        "*** user@example.com *** unknown user",
        '"John User" user@example.com: user unknown',
        "The e-mail to John User <user@example.com> bounced: user unknown",
        "Recipient: [SMTP:user@example.com] user unknown",
        "1. user@example.com - unknown user",
        "收件人 user@example.com 不存在",
        "Empfaenger: user@example.com - Benutzer unbekannt, konnte nicht zugestellt werden",
    ],
)
def test_one_line_suffices(line: str) -> None:
    """Short reports name recipient and reason on a single line, in many ways."""
    (one,) = message(line + "\n", "Undeliverable mail").reports
    assert (one.recipient, one.action, one.type, one.blame) == (
        "user@example.com",
        "failed",
        "hard",
        "recipient",
    )


def test_a_report_in_html_alone_is_read() -> None:
    """Marks and entities do not hide the address."""
    html = "<html><body><p>Your message could not be delivered to<br><b>&lt;user@example.com&gt;</b>: mailbox is full</p>\n</body></html>\n"
    report = message(html, "Undeliverable mail", "MAILER-DAEMON@x.example", "Content-Type: text/html")
    assert [(one.recipient, one.reason) for one in report.reports] == [("user@example.com", "mailboxfull")]


def test_a_report_in_html_is_read_beside_the_lines_of_a_gateway() -> None:
    """Plain text behind the HTML, or one that names nobody, does not stand for it."""
    html = "Content-Type: text/html\n\n<p>Your message could not be delivered to<br>user@example.com: mailbox is full</p>\n"
    before = "Content-Type: text/plain\n\nThis mail comes from outside.\n"
    behind = "Content-Type: text/plain\n\nScanned. Questions: av@example.net\n"
    for parts in ((html, behind), (before, html)):
        body = "".join(f"--b\n{part}" for part in parts) + "--b--\n"
        report = message(
            body, "Undeliverable mail", "MAILER-DAEMON@x.example", "Content-Type: multipart/mixed; boundary=b"
        )
        assert [one.recipient for one in report.reports] == ["user@example.com"]


@pytest.mark.parametrize(
    "text",
    [
        "|------------------------- Failed addresses follow: ---------------------|\n <user@example.com> ... unknown user\n|------------------------- Message text follows: ------------------------|\nReceived: by x\n",
        "Your message could not be delivered as addressed.\n\nInvalid receiver address: user@example.com\n",
        "This Message was undeliverable due to the following reason:\n\nThe user(s) account is temporarily over quota.\n\n<user@example.com>\n\nPlease reply to Postmaster@isp.example\n",
        "The following address(es) failed:\n\n  pipe to |/usr/bin/procmail\n    generated by user@example.com\n    Child process of address_pipe transport returned 127\n",
        "The following address(es) failed:\n\n  /var/mail/user\n    (ultimately generated from user@example.com)\n    mailbox is full\n",
        "The user you sent to is unknown.\n\nrecipient address: user@example.com\nsender address: us@example.org\n",
        "Your message wasn't delivered to user@example.com because the address couldn't be found.\n\nThe response from the remote server was:\n550 5.1.1 User unknown\n",
        'Could not deliver mail to user "user@example.com": mailbox over quota.\n',
        "This report relates to a message with the following header fields:\n\n  From: us@example.org\n  To: user@example.com\n\nYour message cannot be delivered to the following recipients:\n\n  Recipient address: user@example.com\n  Reason: Illegal host/domain name found\n",
    ],
)
def test_only_the_recipient_is_named(text: str) -> None:
    """Pipes, files, senders, helpers and headers that a report mentions are no recipients."""
    assert [one.recipient for one in message(text, "Undeliverable mail").reports] == ["user@example.com"]


def test_a_status_part_that_a_person_passes_on_is_no_report() -> None:
    """It is about somebody else's mail, whatever its parts are called."""
    fields = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; user@example.com\nAction: failed\nStatus: 5.1.1\n"
    parts = f"--b\nContent-Type: text/plain\n\nLook.\n--b\nContent-Type: message/delivery-status\n\n{fields}--b--\n"
    head = 'Subject: Fwd: Undelivered\nContent-Type: multipart/mixed; boundary="b"\n\n'
    assert read(f"From: Ann <ann@example.net>\n{head}{parts}".encode()).kind == "not-a-report"
    assert read(f"From: MAILER-DAEMON@mx.example\n{head}{parts}".encode()).kind == "bounce"


def test_a_status_part_that_a_gateway_relabelled_is_read() -> None:
    """Delivery-status fields are known by what they begin with where their content type says nothing."""
    head = 'From: MAILER-DAEMON@mx.example\nSubject: Undelivered\nContent-Type: multipart/mixed; boundary="b"\n\n'
    fields = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; user@example.com\nAction: failed\nStatus: 5.1.1\n"
    kinds = ("Content-Type: text/plain\n\nIt failed.\n", f"Content-Type: application/octet-stream\n\n{fields}")
    data = (head + "".join(f"--b\n{part}" for part in kinds) + "--b--\n").encode()
    assert [(one.recipient, one.status) for one in read(data).reports] == [("user@example.com", "5.1.1")]
    sent_by_a_person = data.replace(b"MAILER-DAEMON@mx.example", b"Ann <ann@example.net>").replace(
        b"Undelivered", b"Look"
    )
    assert read(sent_by_a_person).kind == "not-a-report"
