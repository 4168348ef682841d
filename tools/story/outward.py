"""The first half of the story: mail of three streams goes out, and is stamped."""

from __future__ import annotations

import re
import smtplib

from lab.destination import Arrived
from story.stage import FRIEND, POLICY, STREAMS, Stage

VERP = re.compile(r"^b-[a-z2-7]{30}@bounces\.example\.com$")
REFERENCE = re.compile(r"^[a-z2-7]{30}$")
TAKEN = re.compile(r"<-  250 2\.0\.0 Ok: queued as")


def prologue(stage: Stage) -> None:
    """What runs, and where."""
    tell, site = stage.tell, stage.site
    version = site.postfix.run("postconf", "-h", "mail_version").strip()
    services = sorted(re.findall(r": (\w+) ready:", site.services["serve"].log()))
    tell.need(f"Postfix {version} answers at {site.postfix.smtp_server}.", _greeting(site.postfix.smtp_port), 220)
    tell.need(f"retour serve has started {', '.join(services)}.", services, ["courier", "lmtpd", "milter", "web"])
    tell.gap()
    tell.say("One variable tells the command `retour` which configuration is meant:")
    tell.typed(f"export RETOUR_CONFIG={site.config}", "")


def _greeting(port: int) -> int:
    with smtplib.SMTP() as client:
        return client.connect("127.0.0.1", port)[0]


def three_streams(stage: Stage) -> str:
    """A newsletter, an invoice and a letter from support go out; the newsletter's VERP address."""
    stage.tell.title("1. Mail of three streams goes out")
    stage.tell.say(
        """A stream is a kind of mail: who sends it, which envelope sender and which header fields it gets. This
        configuration has five; two of them come in scenes 10 and 11. (It also says that one hard bounce is enough. By
        default the first only pauses the address for three days, and a second one after that suppresses it.)"""
    )
    stage.tell.quote(POLICY + "\n" + STREAMS)
    sender = _verp(stage)
    _static(stage)
    _unchanged(stage)
    return sender


def _verp(stage: Stage) -> str:
    tell = stage.tell
    tell.say("First a newsletter. The application that sends it adds a reference of its own, Retour-Tag:")
    headers = {"Subject": "Spring news", "Retour-Tag": "spring"}
    result = stage.mail("newsletter@example.com", FRIEND, headers=headers)
    tell.need("Postfix took it.", result.transcript, TAKEN)
    tell.gap()
    arrived = stage.arrives(1)
    tell.say("So it arrived at example.net:")
    tell.quote(as_it_arrived(arrived))
    tell.need("The envelope sender is a VERP address, made for this one message.", arrived.sender, VERP)
    tell.check(
        "Feedback-ID was added, and carries the application's reference.",
        arrived.headers("Feedback-ID"),
        ["spring:newsletter:mail:example"],
    )
    tell.check("Retour-Tag was for Retour alone, and is removed.", arrived.headers("Retour-Tag"), [])
    tell.gap()
    tell.say(
        """The 30 characters behind b- are a token. It refers to the record of this message, contains its time, and is
        signed: nobody else can make one. It can be read back, from a log or a bounce:"""
    )
    said = stage.type("token", "read", arrived.sender)
    tell.check("The token is genuine.", said, re.compile(r"^genuine bounce token of send \d+, drawn 20"))
    tell.check("It leads to the stream and the tag.", said, re.compile(r"newsletter.*tag spring"))
    tell.gap()
    return arrived.sender


def _static(stage: Stage) -> None:
    tell = stage.tell
    tell.say(
        """Now an invoice. Its stream has one sender for all its mail: then greylisting delays the first message
        to a recipient, and not each of them."""
    )
    stage.mail("billing@example.com", FRIEND, headers={"Subject": "Invoice 4711"})
    arrived = stage.arrives(2)
    tell.check(f"It arrived with the sender {arrived.sender}.", arrived.sender, "invoices@bounces.example.com")
    references = arrived.headers("Retour-Ref")
    tell.check("It carries a signed reference, Retour-Ref, in its header instead.", "".join(references), REFERENCE)
    tell.gap()


def _unchanged(stage: Stage) -> None:
    tell = stage.tell
    tell.say("And a letter from a person in support, whose sender is to stay as it is:")
    stage.mail("support@example.com", FRIEND, headers={"Subject": "Your question"})
    arrived = stage.arrives(3)
    tell.check(f"It arrived with the sender {arrived.sender}.", arrived.sender, "support@example.com")
    references = arrived.headers("Retour-Ref")
    tell.check("It is recorded too, and carries a Retour-Ref.", "".join(references), REFERENCE)
    tell.gap()
    tell.say("Its bounces go to support@example.com, as before: Retour sees those that are forwarded to it.")


def as_it_arrived(message: Arrived) -> str:
    """Envelope and header of a message, the Received fields left out."""
    fields = [f"{name}: {value}" for name, value in message.message.items() if name != "Received"]
    envelope = [f"MAIL FROM:<{message.sender}>", *(f"RCPT TO:<{one}>" for one in message.recipients)]
    return "\n".join([*envelope, "", "Received: ... (as ever)", *fields])
