"""The second half of the story: what cannot be delivered comes back, is read, counted and acted on."""

from __future__ import annotations

import re
from typing import Any

from story.outward import TAKEN
from story.stage import FRIEND, Stage

GONE, FULL, BLOCKED = "gone@example.net", "full@example.net", "blocked@example.net"
LATER, AWAY, SLOW = "later@example.net", "away@example.net", "slow@example.net"
POSTMASTER = "postmaster@example.net"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def refused_at_once(stage: Stage) -> None:
    """Three recipients whom the receiving server refuses."""
    tell = stage.tell
    tell.title("2. Three recipients are refused")
    tell.say(
        """The newsletter goes to three more people. The server at example.net refuses all three, each for a
        reason of its own. Postfix reports that to the envelope sender, as it always does; but this sender is
        an address of Retour's."""
    )
    for address in (GONE, FULL, BLOCKED):
        stage.mail("newsletter@example.com", address)
        stage.wait_for_events((address, "bounce"))  # one after the other, so that the history shows them in this order
    events = stage.wait_for_events((GONE, "bounce"), (FULL, "bounce"), (BLOCKED, "bounce"))
    tell.say("What the server said, and what Retour made of it:")
    _bounce(stage, events[GONE], ["550 5.1.1", "hard", "userunknown", "recipient"])
    _bounce(stage, events[FULL], ["552 5.2.2", "soft", "mailboxfull", "recipient"])
    _bounce(stage, events[BLOCKED], ["550 5.7.1", "hard", "blocked", "sender"])
    tell.gap()
    tell.say("A hard bounce is permanent; after a soft one the next message may arrive. So:")
    suppressed = stage.suppressed()
    tell.check(f"{GONE} is suppressed: mail to it is refused.", GONE in suppressed, True)
    tell.check(
        f"{FULL} is not. That was 1 of 5 days with a soft bounce.",
        (FULL in suppressed, stage.counts(FULL)),
        (False, {"soft": 1}),
    )
    tell.check(
        f"{BLOCKED} is not, and nothing is counted.", (BLOCKED in suppressed, stage.counts(BLOCKED)), (False, {})
    )
    tell.gap()
    tell.say(
        """The last one did nothing wrong: our own server is on a block list. So the sender is to blame,
        and nobody loses the subscription."""
    )


def _bounce(stage: Stage, event: dict[str, Any], expected: list[str]) -> None:
    said = str(event.get("diagnostic"))
    came = [said[:9], *(str(event.get(name)) for name in ("type", "reason", "blame"))]
    words = f"{event['address']}: {said}\n-> {came[1]} bounce, reason {came[2]}, blame: {came[3]}"
    stage.tell.check(words, came, expected)


def comes_back_later(stage: Stage) -> None:
    """A late failure, an out-of-office reply and a delay warning."""
    stage.tell.title("3. Three more things come back later")
    stage.tell.say("Some servers accept a message first and send a report afterwards. Here it is an invoice:")
    _late_failure(stage)
    stage.tell.say("Not everything that comes back is a failure. Somebody is on holiday:")
    _auto_reply(stage)
    stage.tell.say("And a server takes its time, and says so:")
    _delay(stage)


def _late_failure(stage: Stage) -> None:
    tell = stage.tell
    stage.mail("billing@example.com", LATER)
    late = stage.wait_for_events((LATER, "bounce"))[LATER]
    tell.check(f"A report came: {late['diagnostic']}", (late["type"], late["status"]), ("hard", "5.1.1"))
    tell.check(
        "The sender of invoices has no token. The Retour-Ref in the returned header told whose report it is.",
        (late["stream"], late["proof"]),
        ("invoices", "corroborated"),
    )
    tell.check(f"{LATER} is suppressed.", LATER in stage.suppressed(), True)
    tell.gap()


def _auto_reply(stage: Stage) -> None:
    tell = stage.tell
    stage.mail("newsletter@example.com", AWAY)
    away = stage.wait_for_events((AWAY, "autoreply"))[AWAY]
    tell.check(f"An out-of-office reply came (reason: {away['reason']}).", away["reason"], "vacation")
    tell.check("It is recorded as such, and not as a bounce.", stage.counts(AWAY), {"autoreply": 1})
    tell.check(f"{AWAY} is not suppressed.", AWAY in stage.suppressed(), False)
    tell.gap()


def _delay(stage: Stage) -> None:
    tell = stage.tell
    stage.mail("newsletter@example.com", SLOW)
    slow = stage.wait_for_events((SLOW, "delayed"))[SLOW]
    tell.check(f"A warning came: {slow['diagnostic']}", slow["action"], "delayed")
    tell.check("It is not counted, because nothing has failed yet.", any(stage.counts(SLOW).values()), False)
    tell.gap()


def forged(stage: Stage, sender: str) -> None:
    """A forged bounce is refused; the address that it was made from is good."""
    tell = stage.tell
    tell.title("4. Somebody forges a bounce")
    tell.say(
        """A stranger wants anna off the list, and sends a bounce to an address that looks like one of Retour's; only
        the last character of the token is wrong. When it names the recipient, Postfix asks Retour whether the
        signature is valid. So the forgery is never accepted, and never has to be bounced to anybody:"""
    )
    before = stage.json("events")
    refused = stage.mail_from_outside("<>", forge(sender), dialogue=True)
    tell.check("Postfix refused the forgery with 550.", refused.reply_to("RCPT").code, 550)
    tell.check("Nothing was recorded.", stage.json("events"), before)
    tell.gap()
    tell.say("The stranger is not told what was wrong. The postmaster is, by Retour's log:")
    line = stage.site.services["serve"].wait_for_log(r"^.*lookup refused.*$")[0]
    tell.quote(line)
    tell.check("The log gives the reason.", line, re.compile("the signature does not match"))
    tell.gap()
    tell.say("The real address would have been accepted (swaks hangs up before it sends anything):")
    asked = stage.mail_from_outside("<>", sender, dialogue=True, extra=["--quit-after", "RCPT"])
    tell.check("Postfix accepted the real address with 250.", asked.reply_to("RCPT").code, 250)
    tell.gap()


def forge(sender: str) -> str:
    """The VERP address with another last character of its token."""
    token, _, domain = sender.partition("@")
    last = ALPHABET[(ALPHABET.index(token[-1]) + 1) % len(ALPHABET)]
    return f"{token[:-1]}{last}@{domain}"


def written_to_again(stage: Stage) -> None:
    """One suppressed and one good recipient of one message."""
    tell = stage.tell
    tell.title("5. An application sends to a suppressed address")
    tell.say(f"The application does not know yet. It sends one message to {GONE} and to {FRIEND}:")
    result = stage.mail("newsletter@example.com", [GONE, FRIEND], dialogue=True)
    refusal = result.reply_to(f"RCPT TO:<{GONE}>")
    tell.check(f"{GONE} was refused with 550.", refusal.code, 550)
    words = re.compile(r"hard bounces \(5\.1\.1 userunknown\), since \d{4}-\d\d-\d\d")
    tell.check("The reply named the cause and the date.", refusal.text, words)
    tell.check(f"{FRIEND} got the message.", stage.arrives(4).recipients, (FRIEND,))
    tell.gap()
    tell.say(
        """Some applications give up a whole message on one 550. For them, `suppressed = "drop"` in the stream
        removes such recipients silently."""
    )


def to_postmaster(stage: Stage) -> None:
    """Mail that is not a report goes to a person."""
    tell = stage.tell
    tell.title("6. A person answers")
    tell.say("Karl answers the envelope sender of an invoice. That is not a report about a delivery.")
    subject = "Invoice 4711 is paid"
    result = stage.mail_from_outside("karl@example.org", "invoices@bounces.example.com", headers={"Subject": subject})
    tell.check("Postfix took it.", result.transcript, TAKEN)
    forwarded = stage.arrives(1, to=POSTMASTER)
    ours = forwarded.headers("Subject")[0]
    tell.check(f'{POSTMASTER} got it, as "{ours}".', ours, "Returned mail that could not be matched")
    tell.check("What Karl wrote is attached as it came.", f"Subject: {subject}" in forwarded.content.decode(), True)
    tell.gap()
