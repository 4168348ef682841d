"""Feedback consistency: what in a configuration contradicts that people unsubscribe and complain as it says."""

from __future__ import annotations

from collections.abc import Iterator

from retour_policy.address import MAX_LOCAL_PART_OCTETS, domain_of
from retour_policy.config.model import Config, Stream
from retour_policy.tokens.token import LONG_LENGTH

_FIELDS = {
    "unsubscribe": ("list-unsubscribe", "list-unsubscribe-post"),
    "list_id": ("list-id",),
    "feedback_id": ("feedback-id",),
    "cfbl": ("cfbl-address", "cfbl-feedback-id"),
}
"""The header fields that each key of a stream writes."""


def feedback_contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Values that are each allowed but contradict one another: key and text."""
    if config.web and config.web.public_url.startswith("http:") and not config.web.allow_http:
        yield (
            "web.public_url",
            "http lets anybody read what people do; use https, or to try it out allow_http = true",
        )
    if config.lmtpd.feedback and domain_of(config.lmtpd.feedback) not in config.pattern_domains:
        yield "lmtpd.feedback", "is not in the domain of any stream's pattern, so its mail would not come to Retour"
    for stream in config.stream:
        key = f"stream[{stream.name}]"
        for name, text in (*_of_unsubscribe(config, stream), *_of_fields(config, stream)):
            yield f"{key}.{name}", text


def _of_unsubscribe(config: Config, stream: Stream) -> Iterator[tuple[str, str]]:
    unsubscribe = stream.unsubscribe
    if unsubscribe is None:
        return
    if stream.transactional:
        yield (
            "unsubscribe",
            (
                "stands in a transactional stream: nobody can unsubscribe from invoices or password resets; remove it, "
                "or put the mail that people may leave into a stream of its own"
            ),
        )
    if not stream.track:
        yield "unsubscribe", "needs track = true: the link names what is recorded"
    if not unsubscribe.https and not unsubscribe.mailto:
        yield "unsubscribe", "names no way; set https, mailto or both"
    if unsubscribe.post and not unsubscribe.https:
        yield "unsubscribe.post", "needs https: one click is a POST to that link (RFC 8058)"
    if unsubscribe.https and unsubscribe.https.startswith("http:") and not (config.web and config.web.allow_http):
        text = "mail programs refuse http (RFC 8058 section 3.1); use https, or to try it out [web] allow_http = true"
        yield "unsubscribe.https", text
    if config.rules(stream).unsubscribe != 1:
        yield "policy.unsubscribe", "must be 1 where people can unsubscribe: each unsubscription has to be honoured"
    yield from _of_mailto(stream)


def _of_mailto(stream: Stream) -> Iterator[tuple[str, str]]:
    pattern = stream.mailto_pattern
    if stream.unsubscribe and stream.unsubscribe.mailto and pattern is None:
        yield "unsubscribe.mailto", 'needs an envelope_from with %, or an address of its own: "u-%@bounces.example.com"'
    elif pattern and (octets := pattern.local_part_octets(LONG_LENGTH)) > MAX_LOCAL_PART_OCTETS:
        yield (
            "unsubscribe.mailto",
            (
                f"makes local parts of {octets} octets, because tokens of this kind are longer; the maximum is "
                f'{MAX_LOCAL_PART_OCTETS}: name a shorter pattern, such as "u-%@{pattern.domain}"'
            ),
        )


def _of_fields(config: Config, stream: Stream) -> Iterator[tuple[str, str]]:
    asked = [name for name in _FIELDS if getattr(stream, name)]
    if stream.headers is False:
        for name in asked:
            yield name, "writes header fields, and headers = false forbids all; leave one of them out"
        return
    written = {name.lower() for name in stream.headers}
    for name in asked:
        for field in written.intersection(_FIELDS[name]):
            yield f"headers.{field}", f"{name} writes this field; leave one of them out"
    if stream.cfbl and not config.lmtpd.feedback:
        yield "cfbl", 'needs [lmtpd] feedback, the address that complaints are sent to: "fbl@bounces.example.com"'
