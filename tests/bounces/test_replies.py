"""Replies: what large receivers and common servers answer, and the reason that each stands for."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import pytest

from retour_bounces import judge, read

REPLIES = [
    (
        "userunknown",
        "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address for typos or unnecessary spaces. gsmtp",
    ),
    ("userunknown", "550-5.1.1 The email account that you tried to reach does not exist."),
    ("suspend", "550 5.2.1 The email account that you tried to reach is disabled. gsmtp"),
    (
        "suspend",
        "550-5.2.1 The email account that you tried to reach is inactive. For more information, go to",
    ),
    (
        "mailboxfull",
        "452-4.2.2 The recipient's inbox is out of storage space. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaTemp",
    ),
    ("mailboxfull", "552 5.2.2 The recipient's inbox is out of storage space"),
    (
        "spamdetected",
        "550-5.7.1 This message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been blocked.",
    ),
    (
        "authfailure",
        "550-5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM.",
    ),
    (
        "authfailure",
        "550-5.7.1 Unauthenticated email from example.org is not accepted due to domain's DMARC policy.",
    ),
    (
        "requireptr",
        "550-5.7.25 The IP address sending this message does not have a PTR record, or the corresponding forward DNS entry does not match the sending IP.",
    ),
    (
        "blocked",
        "550 5.7.1 [192.0.2.1] The IP you're using to send mail is not authorized to send email directly to our servers. Please use the SMTP relay at your service provider instead.",
    ),
    ("notcompliantrfc", "550 5.7.1 Message is not RFC 5322 compliant: 'From' header is missing"),
    ("emailtoolarge", "552 5.3.4 Your message exceeded Google's message size limits."),
    ("userunknown", "554 delivery error: dd This user doesn't have a yahoo.com account (x@yahoo.com) [0]"),
    ("userunknown", "554 delivery error: This user doesn't have an example.com account"),
    ("userunknown", "550 The address has expired"),
    ("contenterror", "554 Unable to parse message"),
    ("contenterror", "550 Sorry, we do not accept messages in the big5 character set."),
    ("badreputation", "550 very bad karma score: -5"),
    ("syntaxerror", "554 You talk too soon"),
    ("userunknown", "552 1 Requested mail action aborted, mailbox not found"),
    (
        "blocked",
        "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
    ),
    ("userunknown", "550 5.5.0 Requested action not taken: mailbox unavailable."),
    ("userunknown", "550 Requested action not taken: mailbox unavailable"),
    (
        "blocked",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140).",
    ),
    ("spamdetected", "550 5.7.1 Message rejected as spam by Content Filtering."),
    ("mailboxfull", "550 5.2.2 <user@example.com>: user is overquota"),
    ("userunknown", "550 5.1.1 <user@icloud.com>: user does not exist"),
    ("policyviolation", "554 5.7.1 [HM07] Message rejected due to local policy."),
    ("spamdetected", "550 5.7.1 [CS01] Message rejected due to spam content"),
    ("userunknown", "550 5.1.1 <user@gmx.de>: Recipient address rejected: User unknown"),
    (
        "userunknown",
        "550 Requested action not taken: mailbox unavailable For explanation visit https://postmaster.gmx.net",
    ),
    (
        "blocked",
        "554-gmx.net (mxgmx101) Nemesis ESMTP Service not available 554-No SMTP service 554-IP address is black listed.",
    ),
    ("requireptr", "554-No SMTP service 554-Bad DNS PTR resource record."),
    ("userunknown", "550 5.1.1 unknown or illegal alias: user@t-online.de"),
    (
        "blocked",
        "554 IP=192.0.2.1 - Dialup/transient IP/hostname not allowed. (Ask your postmaster for help or to contact tobr@rx.t-online.de)",
    ),
    (
        "userunknown",
        "550 Message was not accepted -- invalid mailbox.  Local mailbox user@mail.ru is unavailable: user not found",
    ),
    (
        "suspend",
        "550 Message was not accepted -- invalid mailbox. Local mailbox user@mail.ru is unavailable: user is terminated",
    ),
    (
        "spamdetected",
        "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc or report details to abuse@corp.mail.ru",
    ),
    ("userunknown", "550 5.7.1 No such user!"),
    ("spamdetected", "554 5.7.1 [1] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc"),
    ("mailboxfull", "552 5.2.2 Mailbox size limit exceeded"),
    ("userunknown", "550 Unknown recipient"),
    ("userunknown", "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found"),
    ("networkerror", "554 5.4.6 Hop count exceeded - possible mail loop"),
    ("systemerror", "451 4.3.2 Temporary server error. Please try again later"),
    ("systemfull", "452 4.3.1 Insufficient system resources"),
    ("userunknown", "550 #5.1.0 Address rejected."),
    ("userunknown", "550 5.1.0 Address rejected user@example.com"),
    ("userunknown", "550 Administrative prohibition - user unknown"),
    ("blocked", "550 Rejected because 192.0.2.1 is in a black list at zen.spamhaus.org"),
    ("ratelimited", "450 4.7.1 Greylisting in effect, please come back later"),
    ("norelaying", "550 5.7.1 Relaying denied. Proper authentication required."),
    ("norelaying", "550 relay not permitted"),
    (
        "norelaying",
        "503 This mail server requires authentication when attempting to send to a non-local e-mail address",
    ),
    ("rejected", "550 Sender verify failed"),
    ("rejected", "550 5.1.8 Sender address rejected: Domain not found"),
    ("rejected", "450 4.1.8 <us@example.org>: Sender address rejected: Domain not found"),
    ("blocked", "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname"),
    ("requireptr", "450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]"),
    ("virusdetected", "554 5.7.1 virus Eicar-Test-Signature detected by ClamAV - http://www.clamav.net"),
    ("mailboxfull", "550 Mailbox quota exceeded / Quota da caixa excedida"),
    ("mailboxfull", "452 4.2.2 user@example.com Mailbox full"),
    ("suspend", "550 5.2.1 Mailbox disabled for this recipient"),
    (
        "suspend",
        "554 30 Sorry, your message to user@yahoo.com cannot be delivered. This mailbox is disabled (554.30).",
    ),
    (
        "hostunknown",
        "Host or domain name not found. Name service error for name=gone.example type=AAAA: Host not found",
    ),
    (
        "networkerror",
        "Host or domain name not found. Name service error for name=x.example type=MX: Host not found, try again",
    ),
    ("networkerror", "connect to mx.example.com[192.0.2.1]:25: Connection refused"),
    ("networkerror", "connect to mx.example.com[192.0.2.1]:25: No route to host"),
    ("expired", "connect to mx.example.com[192.0.2.1]:25: Connection timed out"),
    ("networkerror", "lost connection with mx.example.com[192.0.2.1] while sending RCPT TO"),
    (
        "expired",
        "delivery temporarily suspended: connect to mx.example.com[192.0.2.1]:25: Connection timed out",
    ),
    ("userunknown", 'unknown user: "bob"'),
    (
        "mailboxfull",
        "maildir delivery failed: Sorry, the user's maildir has overdrawn his diskspace quota, please try again later.",
    ),
    ("failedstarttls", "530 5.7.0 Must issue a STARTTLS command first"),
    ("securityerror", "530 5.7.1 Authentication required"),
    ("securityerror", "535 Incorrect authentication data"),
    ("syntaxerror", "502 5.5.2 Error: command not recognized"),
    ("hasmoved", "551 5.1.6 user has moved to somewhere else"),
    ("userunknown", "554 5.1.1 <user@example.com>... Address does not exist"),
    ("userunknown", "553 5.3.0 <user@example.com>... Addressee unknown, relay=[192.0.2.1]"),
    ("userunknown", "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550"),
    ("rejected", "550 Envelope blocked - User Entry - https://community.mimecast.com/docs/DOC-1369#550"),
    ("virusdetected", "554 Email rejected due to security policies"),
    ("spamdetected", "550 High probability of spam"),
    ("notaccept", "556 5.1.10 Domain does not accept mail (nullMX)"),
    (
        "suppressed",
        "smtp; Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid address.",
    ),
    ("userunknown", "550 permanent failure for one or more recipients (user@example.com:550 No such user)"),
    ("blocked", "550 permanent failure for one or more recipients (user@example.com:blocked)"),
    ("userunknown", "550 sorry, no such user here"),
    ("userunknown", "511 sorry, no mailbox here by that name (#5.1.1 - chkuser)"),
    (
        "norelaying",
        "553 sorry, that domain isn't in my list of allowed rcpthosts; no valid cert for gatewaying (#5.7.1)",
    ),
    ("mailboxfull", "522 sorry, recipient mailbox is full (#5.2.2 - chkuser)"),
    ("expired", "I'm not going to try again; this message has been in the queue too long."),
    (
        "expired",
        "CNAME lookup failed temporarily. (#4.4.3) I'm not going to try again; this message has been in the queue too long.",
    ),
    ("hostunknown", "Sorry, I couldn't find any host named gone.example. (#5.1.2)"),
    ("networkerror", "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)"),
    (
        "expired",
        "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1) I'm not going to try again; this message has been in the queue too long.",
    ),
    ("userunknown", "Unrouteable address (user unknown)"),
    ("expired", "retry timeout exceeded"),
    ("hostunknown", "all relevant MX records point to non-existent hosts"),
    ("networkerror", 'an error occurred: too many "Received" headers - suspected mail loop'),
    ("policyviolation", "550 This message was classified as bulk by policy"),
    ("userunknown", "550 Benutzer unbekannt"),
    ("mailboxfull", "552 Postfach voll"),
    ("userunknown", "550 5.1.1 Adresse inconnue"),
    ("suspend", "550 Diese Mailbox wurde deaktiviert"),
    ("virusdetected", "550 This message was classified as malicious (phishing)"),
    ("failedstarttls", "Cannot start TLS: handshake failure"),
    ("suppressed", "554 5.0.0 Recipient address has a history of hard bounces; suppressed"),
    ("hostunknown", "The domain nowhere.example does not exist"),
    ("userunknown", "550 Nie ma takiego użytkownika"),
    ("mailboxfull", "The recipient's mailbox has reached its maximum size"),
]


@pytest.mark.parametrize(("reason", "reply"), REPLIES)
def test_a_reply_in_use_has_the_reason_that_it_stands_for(reason: str, reply: str) -> None:
    """An unknown user whom a server names without code and command may be `filtered`; all else is exact."""
    found = judge(reply).reason
    assert found == reason or (reason == "userunknown" and found == "filtered")


@pytest.mark.parametrize(
    "reply, reason",
    [
        ("550 el buzón está lleno", "mailboxfull"),
        ("550 el buzon esta lleno", "mailboxfull"),
        ("550 schranka je plna", "mailboxfull"),
        ("550 Empfänger unbekannt", "userunknown"),
        ("550 nie ma takiego uzytkownika", "userunknown"),
    ],
)
def test_accents_may_be_missing(reply: str, reason: str) -> None:
    """Servers write their language with accents or without."""
    assert judge(reply).reason == reason


def test_an_address_ends_at_the_punctuation_of_scripts_without_spaces() -> None:
    """Chinese and Japanese set marks of their own around an address, and no space."""
    text = "邮件发送失败\n\n收件人：user@example.com，\n\n收件人邮件地址（user@example.com）不存在，邮件无法送达。\n"
    report = read(f"From: Postmaster@mail.example\nSubject: 系统退信\n\n{text}".encode())
    assert [(one.recipient, one.reason) for one in report.reports] == [("user@example.com", "userunknown")]
