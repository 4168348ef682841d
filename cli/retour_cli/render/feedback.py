"""Feedback: by what the recipients of a stream unsubscribe and complain, in plain sentences."""

from __future__ import annotations

from retour_policy.config.feedback import LINK_PATH
from retour_policy.config.model import Config, Stream

_EXISTING = {
    "keep": "stays, and ours is not written beside it: Retour never hears of who leaves by an address of theirs",
    "replace": "gives way to ours: the application hears of who leaves by the hook event unsubscribed alone",
    "wrap": "stays behind our addresses in List-Unsubscribe, but for a second https link (RFC 8058 allows one); "
    "other fields stay as they are",
}


def feedback_words(config: Config, stream: Stream) -> dict[str, str]:
    """What a stream offers its recipients, by label."""
    words = {}
    if ways := _ways(stream):
        has_link = stream.unsubscribe is not None and stream.unsubscribe.https is not None
        alone = " A message with several recipients has no link." if has_link else ""
        words["leave by"] = f"{', '.join(ways)}.{alone}"
    fields = [
        name
        for name, is_asked in (
            ("List-Id", stream.list_id),
            ("Feedback-ID", stream.feedback_id),
            (f"CFBL-Address (complaints come to {config.lmtpd.feedback})", stream.cfbl),
        )
        if is_asked
    ]
    if fields:
        words["fields"] = ", ".join(fields)
    if words:
        words["existing"] = f"what the application wrote in these fields {_EXISTING[stream.existing]}"
    return words


def _ways(stream: Stream) -> list[str]:
    unsubscribe = stream.unsubscribe
    if unsubscribe is None:
        return []
    click = " with one click (RFC 8058)" if unsubscribe.post else ""
    ways = [f"{unsubscribe.https}{LINK_PATH}...{click}"] if unsubscribe.https else []
    pattern = stream.mailto_pattern
    return [*ways, f"mail to {pattern.address('...')}"] if pattern else ways


def feedback_warnings(config: Config) -> list[str]:
    """What is allowed and does harm."""
    found = []
    for stream in config.stream:
        unsubscribe = stream.unsubscribe
        if unsubscribe and unsubscribe.https and not unsubscribe.post:
            found.append(
                f"stream {stream.name}: without post = true mail programs offer no button: Gmail and Yahoo ask bulk "
                "senders for one click (RFC 8058)"
            )
        if unsubscribe and unsubscribe.https and config.web is None:
            found.append(
                f"stream {stream.name}: its links lead to {unsubscribe.https}, and there is no [web] section: pressing "
                "them unsubscribes nobody unless another host's web service does it"
            )
    return found
