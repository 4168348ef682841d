"""Read: which readers are asked about a returned message, in which order, and why; the first that knows it answers.

1. `dsn`: delivery status notifications (RFC 3464, RFC 6533). Fields that a program wrote for programs say most exactly
   what became of whom, so they are believed before any words beside them.
2. `complaint`: abuse reports (RFC 5965). They bring back a message that was delivered, so they must be known before
   anything that looks at a returned message.
3. `mdn`: read receipts (RFC 8098), which have fields of their own too.
4. `unsubscribe`: what mail programs send to unsubscribe their users. Some mark it as an answer by program.
5. `autoreply`: answers by program (RFC 3834) and challenges. They come from people's addresses and may quote a failure,
   so they are asked before anything that reads words.
6. `amazon_ses`: Amazon's JSON, which is exact but stands in a text; the readers of words would take it for a sentence.
7. `plain_text`: words alone, with no field to rely on.
   Then `complaint`, about one that the postmaster forwards as an attachment.
8. `dsn` and `plain_text` about what a gateway's message holds (`wrapped`). What this message tells itself comes first:
   a report may be about a report.
9. `dsn` and `plain_text` once more, for reports of failure in which no address stands: only when nobody could say whose
   failure it is, the envelope's recipient has to tell.

What several readers need to know of a message is found out once, by `readers.view.View`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from retour_bounces.classify.rules import Rules
from retour_bounces.message.answered import of as message_ids
from retour_bounces.message.parts import scan
from retour_bounces.readers import amazon_ses, autoreply, complaint, dsn, mdn, plain_text, unsubscribe, wrapped
from retour_bounces.readers.view import View
from retour_bounces.report import Report

Reader = Callable[[View, Rules], Report | None]

_READERS: tuple[Reader, ...] = (
    dsn.read,
    complaint.read,
    mdn.read,
    unsubscribe.read,
    autoreply.read,
    amazon_ses.read,
    plain_text.read,
)
_INSIDE: tuple[Reader, ...] = (dsn.read, plain_text.read)
_NAMELESS: tuple[Reader, ...] = (dsn.read_nameless, plain_text.read_nameless)


def read(data: bytes, *, rules: Rules | None = None) -> Report:
    """What a returned message says; pure, never raises, in time linear in the length of `data`.

    `rules` are the bundled ones unless given. What no reader knows is a `Report` of kind "not-a-report".
    """
    rules = rules or Rules.bundled()
    view = View(scan(bytes(data)))
    return (
        _first(view, _READERS, rules)
        or _forwarded(view, rules)
        or next(filter(None, (_first(inner, _INSIDE, rules) for inner in wrapped.inside(view))), None)
        or _first(view, _NAMELESS, rules)
        or Report("not-a-report", truncated=view.message.truncated)
    )


def _forwarded(view: View, rules: Rules) -> Report | None:
    """What a complaint says that somebody forwards."""
    inner = wrapped.complaint(view)
    return _first(inner, (complaint.read,), rules) if inner else None


def _first(view: View, readers: tuple[Reader, ...], rules: Rules) -> Report | None:
    """What the first of the readers that knows the message says."""
    for reader in readers:
        report = reader(view, rules)
        if report is not None:
            return _with_answered(report, view)
    return None


def _with_answered(report: Report, view: View) -> Report:
    """The report with what its own header says about the message that it answers."""
    named = message_ids(view.fields)
    answered = tuple(one for one in named if one != report.original.message_id) if named else ()
    return replace(report, original=replace(report.original, answered=answered)) if answered else report
