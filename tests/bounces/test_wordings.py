"""Wordings: replies from the lists that providers publish, and replies that no phrase knows."""

# ruff: noqa: E501  (samples are kept as the lines that servers write)
from __future__ import annotations

import pytest

from retour_bounces import judge, read

PUBLISHED = [
    ("blocked", "sender", "421-4.7.0 IP not in whitelist for RCPT domain, closing connection. gsmtp"),
    ("failedstarttls", "sender", "550 5.7.29 This message was sent over an unencrypted connection. gsmtp"),
    ("networkerror", "network", "550 5.4.6 Message exceeded 50 hops, this may indicate a mail loop. - gsmtp"),
    ("policyviolation", "sender", "550 5.7.1 The user or domain that you are sending to (or from) has a policy that prohibited the mail that you sent."),
    ("authfailure", "sender", "550 5.7.30 Email has been blocked because DKIM authentication didn't pass for this message. Gmail requires all bulk email senders to authenticate email with DKIM."),
    ("ratelimited", "network", "451 4.7.500 Server busy. Please try again later from [192.0.2.8]. (S77719)"),
    ("rejected", "sender", "550 5.1.8 Access denied, bad outbound sender AS(4810) [mx.prod.protection.outlook.example]"),
    ("rejected", "sender", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"),
    ("blocked", "sender", "550 5.7.511 Access denied, banned sender[192.0.2.3]. To request removal from this list please forward this message to delist@microsoft.example."),
    ("spamdetected", "content", "550 5.7.501 Access denied, spam abuse detected"),
    ("networkerror", "network", "450 4.4.318 Connection was closed abruptly (SuspiciousRemoteServerError)"),
    ("failedstarttls", "network", "451 4.7.323 tlsa-invalid: The domain failed DANE validation"),
    ("requireptr", "sender", "421 4.7.1 : (DNS:NR) https://postmaster.aol.example/error-codes#421dnsnr"),
    ("blocked", "sender", "554 Connection refused from 192.0.2.12. See http://x.example/srbounce IB105"),
    ("blocked", "sender", "550 5.7.0 Local Policy Violation - https://ipcheck.proofpoint.com/?ip=192.0.2.15"),
    ("authfailure", "sender", "550 SPF Sender Invalid - envelope rejected - https://community.mimecast.example/docs#550"),
    ("spamdetected", "content", "554 5.7.0 Reject, id=12345-01 - SPAM"),
    ("policyviolation", "sender", "554 5.7.0 Reject, id=12345-03 - BANNED: multipart/mixed | application/octet-stream,.exe,foo.exe"),
    ("suppressed", "recipient", "606 Not delivering to a user who marked your messages as spam"),
    ("suppressed", "recipient", "550 5.7.1 recipient address suppressed due to customer policy"),
    ("mailboxfull", "recipient", "cannot update mailbox /var/mail/bob for user bob. error writing message: File too large"),
    ("syntaxerror", "network", "554 SMTP synchronization error"),
    ("syntaxerror", "network", "503 5.5.1 DATA without RCPT TO"),
    ("emailtoolarge", "content", "557 The length of DATA content is achieved the maximum threshold"),
    ("ratelimited", "sender", "554 MI:SFQ 163 smtp2,D9GowAC"),
    ("notaccept", "recipient", "451 4.4.4 Mail received as unauthenticated, incoming to a recipient domain configured in a hosted tenant which has no mail-enabled subscriptions. ATTR5"),
    ("userunknown", "recipient", "Benutzer Beispiel (bob@example.com) nicht im Domino-Verzeichnis aufgeführt"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "blame", "reply"), PUBLISHED)
def test_a_published_reply_has_its_reason_and_blame(reason: str, blame: str, reply: str) -> None:
    """What the lists of Google, Microsoft, Yahoo, NetEase, Amazon, gateways and servers say is understood."""
    said = judge(reply)
    assert (said.reason, said.blame) == (reason, blame)


NOT_THE_RECIPIENT = [
    ("rejected", "550-Verification failed for <a@example.org> 550-No Such User Here 550 Sender verify failed"),
    ("rejected", "550 5.1.7 <a@example.org>: Sender address rejected: undeliverable address: host mx.example.org[192.0.2.50] said: 550 5.1.1 User unknown (in reply to RCPT TO command)"),
    ("rejected", '550 Outgoing mail from "a@example.org" has been suspended.'),
    ("securityerror", "535 5.7.8 user unknown or bad password"),
    ("failedstarttls", "554 5.7.5 The certificate of the server is not valid"),
    ("authfailure", "550 5.7.1 DKIM key does not exist for selector s1 of example.org"),
    ("blocked", "554 5.7.1 192.0.2.1 blocked: directory harvest attack (too many non-existent users)"),
    ("syntaxerror", "501 5.0.0 Invalid domain name"),
    ("networkerror", "Host or domain name not found. Name service error for name=mx.example type=MX: Malformed or unexpected name server reply"),
    ("networkerror", "DNS Error: DNS type 'mx' lookup of slow.example responded with code SERVFAIL"),
    ("networkerror", "host mx.example.com[192.0.2.52] refused to talk to me: 421 not now"),
    ("blocked", "host mx.example.com[192.0.2.52] refused to talk to me: 554 mx.example.com 554 Access denied"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "reply"), NOT_THE_RECIPIENT)
def test_what_is_unknown_or_missing_need_not_be_the_recipient(reason: str, reply: str) -> None:
    """A sender, a name server, a certificate or a client that is not known does not make the recipient unknown."""
    said = judge(reply)
    assert said.reason == reason
    assert said.blame != "recipient"


UNSEEN = [
    ("userunknown", "550 Reciepient does not exist here"),
    ("userunknown", "550 no such adress"),
    ("userunknown", "550 Brukeren er ukjent her"),
    ("userunknown", "550 Questo indirizzo non esiste più"),
    ("mailboxfull", "552 there is no room left in this mailbox"),
    ("mailboxfull", "552 A cuota do buzón está superada"),
    ("suspend", "550 this account is frozen until further notice"),
    ("suspend", "550 Das Konto wurde gesperrt"),
    ("hostunknown", "Domain gone.example has neither MX nor A"),
    ("rejected", "550 the sender is not somebody we talk to"),
    ("norelaying", "554 no relay for you"),
    ("blocked", "554 the client 192.0.2.7 is banned here"),
    ("blocked", "554 Ce serveur est bloqué chez nous"),
    ("spamdetected", "554 smells like junk"),
    ("virusdetected", "554 mail contained a ransomware dropper and was refused"),
    ("ratelimited", "450 slow down, at most 20 messages per minute"),
    ("emailtoolarge", "552 that is larger than what we take"),
]


@pytest.mark.parametrize(("reason", "reply"), UNSEEN)
def test_a_wording_that_no_phrase_knows_is_told_by_its_shape(reason: str, reply: str) -> None:
    """Whom a reply speaks of and what it says is wrong suffices, in typos and other languages too."""
    assert judge(reply).reason == reason


NOT_THE_MAILBOX = """
550 5.7.1 Adresse IP inconnue
550 Ihre IP-Adresse ist uns unbekannt
550 Unbekannter Client
550 Unbekanntes Problem
550 Motivo sconosciuto
550 Неизвестная причина
550 Certificato non valido
550 Allegato non valido
501 Ungültige Syntax
550 Ukjent avsender
550 Onbekende afzender
550 Nieznany nadawca
550 送信者アドレスはありません
550 没有此权限
550 Bad user name for AUTH
550 Bad user agent X-Mailer rejected
550 no mail address in Reply-To header
550 Your customer account was not found; contact billing
550 could not verify recipient at this time
550 address is not ok: SPF
550 Message contains too many URLs
550 5.7.0 daily quota for IP 192.0.2.1 used up
452 4.5.3 quota of connections
550 5.7.1 Quotation required
550 5.7.1 user authentication disabled
550 user list closed to non-members
550 alias lookup failed
550 unable to resolve 192.0.2.1 to a name
550 5.7.1 The mailbox in MAIL FROM does not exist at its home server
550 MAIL FROM: user unknown
550 Invalid sender: no such user at example.org
550 mail from nonexistent domain
550 bounce address does not exist
550 The reply-to address is not deliverable
550 Your domain does not exist
550 5.7.1 unknown domain in mail from
554 5.7.1 The sending account is disabled
550 5.1.8 Sender's mailbox is disabled for sending
550 Your account is not active, please contact your provider
550 user does not have permission to send
550 unknown user or password incorrect
530 5.7.0 No account: log in first
550 Verification failed for <a@example.org>: Unrouteable address
550 Het domein van de afzender bestaat niet
550 Doména odesílatele neexistuje
550 Gönderenin alan adı bulunamadı
550 送信者のアドレスが存在しません
550 发件人域名不存在
550 발신자를 찾을 수 없습니다
550 client address is not known to us
550 sending host is not registered
550 Unknown host [192.0.2.5] not allowed to send
550 5.7.1 Could not resolve the EHLO name
550 IP address not found in SPF
550 IP-Adresse existiert nicht im DNS
550 PTR-record bestaat niet
550 enregistrement PTR introuvable
550 逆引きが見つかりません
550 SPF-Eintrag nicht vorhanden
550 registro SPF no encontrado
554 5.6.0 Message refused: attachment name not found in list of allowed types
550 5.6.0 invalid address in To header
554 Date header invalid or does not exist
550 Message rejected: To header missing, no recipient named
550 5.7.1 Message contains a link to an unknown domain
550 license is not valid: sending refused
550 user database not found
550 5.3.0 no user database configured
554 5.3.5 transport not found
554 5.4.4 Unable to find route for user's domain
550 LDAP lookup failed for recipient
550 fichier introuvable
451 サーバーが見つかりません
451 4.3.0 User lookup failed: directory server unavailable, unknown user state
451-LDAP lookup for a@example.com: user not found in cache, directory not reachable
450 4.1.1 <a@example.com>: Recipient address rejected: unverified address: connect to mx.example.com[192.0.2.9]:25: Connection refused
450 Benutzerdatenbank nicht erreichbar, Benutzer unbekannt
451 Impossible de vérifier le destinataire pour le moment, annuaire introuvable
450 4.2.0 mailbox unavailable, retry
450 callout verification failure: could not connect
554 5.5.1 Error: no valid recipients
502 5.5.2 VRFY of users is disabled
554 5.4.4 Host unreachable
550 5.4.1 Recipient's domain does not support TLS
550 The recipient domain is not responding
550 This server does not accept mail from dynamic addresses
550 This server does not accept mail with executable attachments
550 mx.example.com does not accept mail from 192.0.2.5
554 5.7.1 user has exceeded recipients per day
452 4.3.1 not enough space on queue
550 quota server unreachable
450 4.1.1 User unknown in directory (replica out of date), retry
451 Ошибка базы данных, пользователь не найден
554 5.3.5 relay host not found
550 sender mailbox full, callout failed
421 4.4.2 user table locked
550 Your return address is not a valid mailbox
550 No such user at the sender's domain; rejecting forged mail
550 header line invalid: address unknown in Resent-To
550 No MX or A record found for your HELO domain
554 5.7.1 Sending from this mailbox is disabled
550 5.7.1 client [192.0.2.77] is unknown here
554 5.3.0 /var/mail does not exist
550 발신 도메인이 존재하지 않습니다
550 5.7.27 sender domain has null MX
550 5.7.1 <us@example.org>: Sender address rejected: User unknown in virtual mailbox table
550 SMTP sending disabled for account us@example.org
550 5.7.1 Your domain does not accept mail, so we do not accept yours
550 send-only hosts are not welcome
550 NXDOMAIN for sender example.org
550 Sender domain is disabled
554 authentication is disabled on this port
550 plain text login is disabled
454 TLS is currently disabled
502 EXPN is disabled
550 SMTPUTF8 is disabled on this server
550 Your access has been terminated
550 your domain has expired
550 You are unsubscribed from this list and cannot post
550 mailbox full of spam from your host; you are blocked
452 4.5.3 sender over quota
550 account full: sending not permitted, contact your provider
450 4.7.1 exceeded the quota for messages from your domain
"""


@pytest.mark.parametrize("reply", NOT_THE_MAILBOX.strip().split("\n"))
def test_a_shape_without_the_recipient_in_it_blames_nobodys_mailbox(reply: str) -> None:
    """Something else that is unknown, shut, full or bad: no address is stopped for it."""
    said = judge(reply)
    assert said.blame != "recipient" and said.reason not in ("userunknown", "mailboxfull", "suspend", "hostunknown")


NOBODY_THERE = """
550 bob is unknown
550 5.0.0 bob does not exist
550 not found.
550 <bob@example.com> is not known here
550 Mailbox bob not found on this host
550 We do not have an account with that name
550 there is nobody here called bob
550 5.0.0 <bob@example.com> not in our directory
550 delivery to non-existing account refused
550 No such list here
550 Die Adresse bob@example.com ist hier nicht bekannt
550 Callout verification failure: 550 user unknown
550 5.1.1 User unknown From: Us <us@example.org>
550 host mx.example.com [192.0.2.1] said: 550 user not found
550 User unknown, see the header of the returned message
550 5.1.1 Recipient not found in LDAP directory
550 This address has been deleted
550 cannot find bob on this system
550 Die Mailbox wurde gelöscht
550 We have nobody of that name
550 The recipient's mailbox could not be located on this system
550 Ce destinataire n'est pas connu de nos services
550 Den Empfänger bob gibt es bei uns nicht
550 Diese Adresse existiert bei uns nicht mehr
550 Kein Postfach mit diesem Namen
550 La dirección de correo no fue encontrada
550 No hay ningún buzón con ese nombre
550 Indirizzo email errato o inesistente
550 Casella non trovata
550 O usuário não foi localizado
550 Caixa postal inexistente
550 Onbekend e-mailadres
550 Adresát nenalezen
550 Такого адреса нет
550 Böyle bir posta kutusu bulunmuyor
550 このアドレスは使われておりません
550 收件地址无效
550 没有找到该用户
550 無此帳號
550 해당 계정이 없습니다
550 User does not exist; see the link to our help page
550 Recipient not found, date is Mon, 2 Mar 2026
550 mailbox not found; your account at example.org is fine
550 Address not found (client address is 192.0.2.7)
550 does not exist here: bob@example.com (HELO=mx.example.org)
550 5.3.0 could not be found
550 no longer in use.
550 La cuenta no existe en la base de datos
550 계정이 서버에 존재하지 않습니다
550 Użytkownik nie istnieje (nadawca: us@example.org)
550 Ontvanger onbekend, afzender geïnformeerd
550 Utilizatorul nu există
550 Ο χρήστης δεν βρέθηκε
550 あて先が存在しません
550 A postafiók nem található
450 4.1.1 User unknown. Please check the address and try again
450 4.1.1 no such user in LDAP directory
450 4.1.1 user not found in our database
450 4.1.1 no mailbox for bob@example.com here
"""


@pytest.mark.parametrize("reply", NOBODY_THERE.strip().split("\n"))
def test_a_recipient_that_is_denied_is_gone(reply: str) -> None:
    """Whatever else a reply names, it is the recipient who is not there."""
    said = judge(reply)
    assert said.reason in ("userunknown", "filtered") and said.blame == "recipient"
    assert said.type == ("soft" if reply.startswith("4") else "hard")


SHUT = """
550 <bob@example.com> is currently disabled
550 5.2.1 Account of user bob has been deactivated by the administrator
550 Este usuario ha sido suspendido
550 Ваш ящик отключен
550 该邮箱已停用
host mx.example.com[192.0.2.1] said: 550 <bob@example.com>: account has been locked (in reply to RCPT TO command)
"""


@pytest.mark.parametrize("reply", SHUT.strip().split("\n"))
def test_a_mailbox_that_is_shut_is_suspended(reply: str) -> None:
    """Words that say only that something is shut count where a mailbox is spoken of."""
    said = judge(reply)
    assert (said.reason, said.blame) == ("suspend", "recipient")


NO_DOMAIN = [
    "550 5.1.2 Hostname not found",
    "554 5.4.4 Hostname could not be resolved",
    "550 Invalid domain in recipient address",
    "550 Domain example.com is not known",
]


@pytest.mark.parametrize("reply", NO_DOMAIN)
def test_a_domain_of_the_recipient_is_not_the_clients(reply: str) -> None:
    """A name that cannot be found is the recipient's where code or words say so."""
    assert judge(reply).reason == "hostunknown"


def test_a_mailbox_that_takes_no_mail_takes_none_from_any_sender() -> None:
    """Naming the sender does not make the reply one about them."""
    assert judge("550 This address does not accept mail (sender: us@example.org)").reason == "notaccept"


RUNNING = [
    ("hostunknown", "Your message to bob@marbles.example could not be delivered: the domain marbles.example does not exist. Please reply to the postmaster if you want to send it again. The message headers follow."),
    ("userunknown", "Your message to bob@example.com was rejected because the mailbox does not exist. The headers and the attachment are returned below. Subject: DNS and client host"),
    ("mailboxfull", "The mailbox is full, so we cannot send your message on to bob@example.com."),
    ("userunknown", "The address bob@example.com could not be found. Check the database of your mail client, log in and send it again."),
    ("suspend", "Your message to bob@example.com cannot be delivered: it is currently disabled. Returned to sender; check the certificate before sending again."),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "words"), RUNNING)
def test_running_text_may_name_much_else(reason: str, words: str) -> None:
    """A text for people speaks of headers, clients and replies, and still denies the recipient."""
    assert judge(words).reason == reason


HOSTS = [
    "host mx.antispam.example[192.0.2.1] said: {} (in reply to RCPT TO command)",
    "SMTP error from remote mail server after RCPT TO:<bob@example.com>: host relay.blacklist.example [2001:db8::1]: {}",
    "while talking to policy.greylist.example.: >>> RCPT To:<bob@example.com> <<< {}",
]


@pytest.mark.parametrize("around", HOSTS)
def test_the_name_of_the_host_that_answers_is_no_word_of_its_answer(around: str) -> None:
    """A host called antispam or relay refuses nobody by its name."""
    said = judge(around.format("550 5.1.1 <bob@example.com>: User unknown"))
    assert (said.reason, said.blame, said.evidence) == ("userunknown", "recipient", "User unknown")
    assert judge("554 Client host mx.dialup.example[192.0.2.1] blocked using bl.example").reason == "blocked"


@pytest.mark.parametrize(
    "words", ["450 no such adress", "454 Signature non valide", "451 4.3.0 Recipient verification timed out"]
)
def test_a_temporary_refusal_in_a_report_of_failure_is_not_made_hard(words: str) -> None:
    """Given up after days is no word about the mailbox, where the server's words are none."""
    data = (
        b"From: MAILER-DAEMON@mx.example.com\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        b"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.com\n\n"
        b"Final-Recipient: rfc822; bert@remote.example\nAction: failed\nDiagnostic-Code: smtp; %s\n\n--b--\n"
    )
    (one,) = read(data % words.encode()).reports
    assert (one.action, one.type, one.blame == "recipient") == ("failed", "soft", False)


def test_a_sender_that_is_merely_named_gives_no_reason() -> None:
    """Shapes are for replies, which begin with a code; running text names senders, sizes and relays for no reason."""
    assert judge("Original Sender: <us@example.org> Sender-MTA: <192.0.2.250> Relay: mx.example.com").reason is None


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.1.1 <bob@example.com>: Recipient adress unkown",
        "451 4.3.0 Recipient lookup failed, backend not available",
        "450 no such adress",
        "450 4.2.1 account bob temporarily locked out",
    ],
)
def test_a_temporary_refusal_stays_soft(reply: str) -> None:
    """Whatever the words: class 4 says that the server has not decided."""
    assert judge(reply).type == "soft"
