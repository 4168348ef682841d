"""The end of the story: what the postmaster sees, and how a suppression is lifted."""

from __future__ import annotations

import re

from story.homeward import AWAY, BLOCKED, FULL, GONE, LATER, SLOW
from story.stage import Stage

EVENTS = [
    ("newsletter", GONE, "bounce hard 5.1.1 userunknown"),
    ("newsletter", FULL, "bounce soft 5.2.2 mailboxfull"),
    ("newsletter", BLOCKED, "bounce hard 5.7.1 blocked"),
    ("invoices", LATER, "bounce hard 5.1.1 userunknown"),
    ("newsletter", AWAY, "autoreply vacation"),
    ("newsletter", SLOW, "delayed 4.4.1 expired"),
]

KARL = ("invoices", "-", "not-a-report")


def what_happened(stage: Stage) -> None:
    """events, address show, suppressions list."""
    tell = stage.tell
    tell.title("7. What the postmaster sees")
    tell.say("The history of facts:")
    rows = cells(stage.type("events"))
    tell.check(
        "The six events of scenes 2 and 3 are there, in their order.", [tuple(row[1:]) for row in rows[:6]], EVENTS
    )
    others = [(stream, address, words.split()[0]) for _, stream, address, words in rows[6:]]
    tell.check("Karl's answer is the only other one; of the forgery there is nothing.", others, [KARL])
    tell.gap()
    tell.say("One address, and the reason for its state:")
    said = stage.type("address", "show", GONE)
    tell.check("One hard bounce is counted, and that is the threshold.", said, re.compile("hard 1 of 1"))
    tell.check("It is suppressed everywhere; the cause is named.", said, re.compile(r"suppressed +everywhere: hard\b"))
    tell.gap()
    tell.say("All suppressed addresses:")
    rows = cells(stage.type("suppressions", "list"))
    tell.check("They are the two whose mailbox is gone.", [row[0] for row in rows], [GONE, LATER])
    tell.gap()


def taken_back(stage: Stage) -> None:
    """A suppression is lifted."""
    tell = stage.tell
    tell.title("8. A suppression is lifted")
    tell.say(f"The mailbox of {GONE} works again, and should get mail:")
    stage.type("suppressions", "remove", GONE)
    tell.check("The address is not suppressed any more.", GONE in stage.suppressed(), False)
    tell.check("Its counts start again at zero.", any(stage.counts(GONE).values()), False)
    tell.gap()
    result = stage.mail("newsletter@example.com", GONE, dialogue=True, extra=["--quit-after", "RCPT"])
    tell.check(f"{GONE} is accepted again.", result.reply_to("RCPT").code, 250)
    tell.gap()


def cells(table: str) -> list[list[str]]:
    """The rows of a table that `retour` printed, without its head, cut into columns."""
    return [re.split(r" {2,}", line.strip()) for line in table.splitlines()[1:]]
