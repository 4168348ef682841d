"""Providers: the replies that large receivers publish, each with what their pages say it means."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import pytest

from retour_bounces import Rules, judge

PUBLISHED = [
    # Google
    ("authfailure", "sender", "soft", "421-4.7.27 Your email has been rate limited because SPF authentication didn't pass. gsmtp"),
    ("failedstarttls", "sender", "soft", "421-4.7.29 Your email has been rate limited because it wasn't sent over a TLS connection. Gmail requires all bulk email senders to use it. gsmtp"),
    ("authfailure", "sender", "soft", "421-4.7.30 Your email has been rate limited because DKIM authentication didn't pass. Gmail requires it of all bulk email senders. gsmtp"),
    ("authfailure", "sender", "soft", "421-4.7.32 Your email has been rate limited because the From: header isn't aligned with either. gsmtp"),
    ("authfailure", "sender", "hard", "550-5.7.27 Your email has been blocked because SPF authentication didn't pass. gsmtp"),
    ("failedstarttls", "sender", "hard", "550-5.7.29 Your email has been blocked because it wasn't sent over TLS. gsmtp"),
    ("authfailure", "sender", "hard", "550-5.7.30 Your email has been blocked because DKIM authentication didn't pass. gsmtp"),
    ("requireptr", "sender", "soft", "421-4.7.23 rate limited since the sending address has no entry. gsmtp"),
    ("badreputation", "sender", "soft", "421-4.7.28 an unusual rate of unsolicited mail originating from your IP address. gsmtp"),
    ("failedstarttls", "sender", "soft", "421 4.7.0 TLS required for RCPT domain, closing connection. gsmtp"),
    ("mailboxfull", "recipient", "soft", "552 5.2.2 The email account that you tried to reach is over quota. gsmtp"),
    ("ratelimited", "nobody", "soft", "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents more. gsmtp"),
    # Microsoft
    ("blocked", "sender", "hard", "550 5.7.503 Access denied, banned sender"),
    ("userunknown", "recipient", "hard", "550 5.7.504 [bob@example.com]: Recipient address rejected: Access denied"),
    ("blocked", "sender", "hard", "550 5.7.506 Access denied, Bad HELO"),
    ("ratelimited", "sender", "hard", "550 5.7.508 Access denied, [192.0.2.1] has exceeded permitted limits within range"),
    ("authfailure", "sender", "hard", "550 5.7.509 Access denied, sending domain example.org does not pass DMARC verification"),
    ("policyviolation", "sender", "hard", "550 5.7.510 Access denied, example.com does not accept email over IPv6"),
    ("blocked", "sender", "hard", "550 5.7.511 Access denied, banned sender[192.0.2.1]"),
    ("notcompliantrfc", "content", "hard", "550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant"),
    ("authfailure", "sender", "hard", "550 5.7.515 Access denied, sending domain EXAMPLE.ORG doesn't meet the required authentication level"),
    ("blocked", "sender", "hard", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]"),
    ("blocked", "sender", "hard", "550 5.7.649 Access denied, banned sending IP [192.0.2.1]"),
    ("blocked", "sender", "hard", "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP"),
    ("rejected", "sender", "hard", "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains"),
    ("rejected", "sender", "hard", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    ("norelaying", "sender", "hard", "550 5.7.64 TenantAttribution; Relay Access Denied"),
    ("securityerror", "sender", "hard", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup"),
    ("ratelimited", "sender", "hard", "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients"),
    ("badreputation", "sender", "soft", "421 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation"),
    ("failedstarttls", "network", "soft", "451 4.7.324 dnssec-invalid: Destination domain returned invalid DNSSEC records"),
    ("networkerror", "network", "soft", "450 4.4.312 DNS query failed"),
    ("hostunknown", "recipient", "hard", "550 5.4.310 DNS domain gone.example does not exist"),
    # Yahoo, AOL
    ("rejected", "sender", "soft", "421 4.7.0 [TSS05] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints"),
    ("rejected", "sender", "hard", "553 5.7.2 [TSS11] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed"),
    ("rejected", "sender", "soft", "421 4.7.1 [TS01] Messages from 192.0.2.1 temporarily deferred"),
    ("blocked", "sender", "hard", "553 5.7.1 [BL23] Connections not accepted"),
    ("ratelimited", "network", "soft", "451 4.7.1 [GL01] Message from (192.0.2.1) greylisted"),
    ("spamdetected", "content", "hard", "554 5.7.9 [PH01] Email not accepted for policy reasons"),
    ("suspend", "recipient", "hard", "554 5.0.0 30 Sorry, your message to bob@example.com cannot be delivered. This mailbox is disabled (554.30)"),
    # Apple
    ("policyviolation", "sender", "hard", "554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137"),
    ("rejected", "sender", "hard", "550 5.1.1 <us@example.org>: unauthorized sender"),
    ("mailboxfull", "recipient", "soft", "552 5.2.2 <bob@example.com>: user is overquota"),
    # GMX, Web.de
    ("policyviolation", "sender", "hard", "550 Requested action not taken: mailbox unavailable; Reject due to policy restrictions."),
    ("requireptr", "sender", "hard", "554-gmx.example (mxgmx116) Nemesis ESMTP Service not available 554-No SMTP service 554 Bad DNS PTR resource record."),
    ("blocked", "sender", "hard", "554-web.example (mxweb012) Nemesis ESMTP Service not available 554-No SMTP service 554 IP address is black listed."),
    ("ratelimited", "network", "soft", "421-gmx.example (mxgmx001) Nemesis ESMTP Service not available 421 Try again later"),
    ("userunknown", "recipient", "hard", "550 Requested action not taken: mailbox unavailable"),
    # T-Online
    ("blocked", "sender", "hard", "554 IP=192.0.2.1 - A problem occurred. Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify."),
    ("badreputation", "sender", "hard", "554 IP=192.0.2.1 - None/bad reputation. Ask your postmaster"),
    ("ratelimited", "network", "soft", "421 IP=192.0.2.1 - Too many connections from your address"),
    # Orange, La Poste
    ("userunknown", "recipient", "hard", "550 5.1.1 Adresse d au moins un destinataire invalide. OFR_416 [416]"),
    ("mailboxfull", "recipient", "soft", "552 5.1.1 Boite du destinataire pleine. OFR004_417 [417]"),
    ("suspend", "recipient", "hard", "550 5.5.0 LPN007_426"),
    ("rejected", "sender", "hard", "501 5.1.0 Emetteur invalide. OFR004_405"),
    ("ratelimited", "network", "soft", "421 mwinf5c01 ME Trop de connexions. OFR_104"),
    ("blocked", "sender", "hard", "550 5.7.1 Service refuse. LPN105_510"),
    ("blocked", "sender", "hard", "550 mwinf5c02 ME Adresse IP source bloquee pour incident de spam. OFR006_102"),
    ("spamdetected", "content", "hard", "550 5.7.0 Mail rejete. OFR_517 [517]"),
    # Mail.ru, Yandex
    ("spamdetected", "content", "hard", "550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc"),
    ("userunknown", "recipient", "hard", "550 Message was not accepted -- invalid mailbox. Local mailbox bob@example.com is unavailable: user not found"),
    ("mailboxfull", "recipient", "soft", "550 Message was not accepted -- invalid mailbox. Local mailbox bob@example.com is unavailable: user is over quota"),
    ("policyviolation", "sender", "hard", "550 5.7.1 Policy rejection on the target address"),
    # QQ, 163
    ("ratelimited", "sender", "hard", "550 Sender frequency limited http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022"),
    ("filtered", "recipient", "hard", "550 Mail is rejected by recipients. http://service.mail.qq.com/cgi-bin/help?id=20022"),
    ("spamdetected", "content", "hard", "550 Mail content denied. http://service.mail.qq.com/cgi-bin/help?id=20022"),
    ("blocked", "sender", "hard", "550 Connection denied. http://service.mail.qq.com/cgi-bin/help?id=20022"),
    ("authfailure", "sender", "hard", "550 MI:SPF 163 mx14,example http://mail.163.com/help/help_spam_16.htm"),
    ("rejected", "sender", "hard", "553 Requested action not taken: NULL sender is not allowed"),
    ("spamdetected", "content", "hard", "554 DT:SPM 163 smtp2,example"),
    # Naver, Daum
    ("userunknown", "recipient", "hard", "550 5.1.1 RUSR 192.0.2.1: No such user: <bob@example.com>"),
    ("spamdetected", "content", "hard", "554 5.7.1 DAS51 2 192.0.2.1: Your mail is blocked automatically by anti-spam system. (E06)"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "blame", "kind", "reply"), PUBLISHED)
def test_a_published_reply_has_the_meaning_that_its_page_gives(reason: str, blame: str, kind: str, reply: str) -> None:
    """Reason, who can fix it, and whether it is for good."""
    said = judge(reply)
    assert (said.reason, said.blame) == (reason, blame)
    if not (blame == "recipient" and said.status_source == "derived"):
        assert said.type == kind


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.7.27 Sender address has null MX",
        "550 5.7.30 REQUIRETLS support required",
        "550 5.7.29 ARC chain broken",
    ],
)
def test_a_registered_code_keeps_its_meaning_without_a_word_of_the_providers(reply: str) -> None:
    """Google gave 5.7.27 to 5.7.32 meanings of its own; the registry's hold where nothing shows that Google speaks."""
    rule = judge(reply).rule
    assert rule is None or not rule.startswith("gmail")


def test_each_bundled_rule_has_a_name_of_its_own() -> None:
    """Names are unique over all bundled files: an explanation shows the name alone."""
    names = [rule.name for rule in Rules.bundled().rules]
    assert len(names) == len(set(names))
