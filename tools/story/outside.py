"""The last part of the story: other programs are told, and a message is sent again."""

from __future__ import annotations

import json
import re
from typing import Any

from lab.destination import RefuseOnce
from lab.wait import wait_until
from story.homeward import GONE, POSTMASTER
from story.stage import HOOKS, RESENDING, Stage

BUSY = "busy@example.net"


def others_are_told(stage: Stage) -> None:
    """A program that is run, and a web server that is called."""
    tell = stage.tell
    tell.title("9. Other programs are told")
    tell.say("The configuration has two hooks. One runs a program, the other calls a web server:")
    tell.quote(stage.hide(HOOKS))
    tell.say(f"The program got a line when {GONE} was suppressed, on its standard input. It is tee, and kept it:")
    line = next((line for line in stage.told.read_text().splitlines() if GONE in line), "{}")
    event: dict[str, Any] = json.loads(line)
    tell.quote(json.dumps(event, indent=1))
    tell.check(
        "It says what happened, to whom, and why.",
        (event.get("type"), *(event.get("data", {}).get(name) for name in ("address", "cause", "note"))),
        ("suppressed", GONE, "hard", "5.1.1 userunknown"),
    )
    tell.gap()


def sent_again(stage: Stage) -> None:
    """A soft bounce is sent again and arrives; the web server is told of both."""
    tell = stage.tell
    tell.title("10. A message is sent again")
    tell.say("Reminders are a stream of their own. Its soft bounces are sent again, here after a second:")
    tell.quote(RESENDING)
    stage.site.destination.script["busy"] = RefuseOnce("552 5.2.2 Mailbox full, quota exceeded")
    stage.mail("reminder@example.com", BUSY, headers={"Subject": "Tomorrow at ten", "Retour-Tag": "r-17"})
    event = stage.wait_for_events((BUSY, "bounce"))[BUSY]
    tell.check(f"It came back: {event['diagnostic']}", (event["type"], event["reason"]), ("soft", "mailboxfull"))
    tell.gap()
    tell.say("In the meantime the recipient has made room.")
    arrived = stage.arrives(1, to=BUSY)
    tell.check("It was sent again, and arrived.", arrived.headers("Subject"), ["Tomorrow at ten"])
    stage.wait_for_events((BUSY, "resent"))
    said = stage.type("events", "--address", BUSY)
    tell.check("The events show which try it was.", said, re.compile(r"\bresend 1 of 2"))
    tell.gap()
    tell.say("The web server was called for both. It checks the signature before it takes anything:")
    called = stage.receiver.wait(2)
    heard = [(one.event["type"], one.event["data"]["tag"]) for one in called[:2]]
    tell.check(
        "Both calls were signed rightly, and carry the application's reference.",
        heard,
        [("bounce.soft", "r-17"), ("resent", "r-17")],
    )
    tell.quote("\n".join(f"{name}: {called[1].headers[name]}" for name in ("webhook-id", "webhook-signature")))
    tell.say(f"Nothing waits any more. ({POSTMASTER} got Karl's mail the same way, in scene 6.)")
    wait_until(lambda: not stage.json("outbox", "list"), what="an empty outbox")
    said = stage.type("outbox", "list")
    tell.check("The outbox is empty.", said, re.compile("nothing waits"))
    tell.gap()
