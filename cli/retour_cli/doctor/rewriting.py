"""Rewriting: what in Postfix changes the stamp again, chooses the way by the old sender, or adds unseen copies.

Measured on Postfix 3.7: canonical mappings and masquerading are applied to the sender that a milter has set.
"""

from __future__ import annotations

from collections.abc import Iterator

from retour_cli.doctor.finding import Finding, critical, hint, warning
from retour_cli.postfix.instance import Instance, address_keys
from retour_cli.postfix.recipe import sample
from retour_policy.config.model import Config, Stream
from retour_policy.tokens.verp import Pattern

REWRITES = {
    "sender_canonical_maps": "sender_canonical_classes",
    "canonical_maps": "canonical_classes",
    "smtp_generic_maps": "",
}
"""Mappings of senders, and the settings that say what they apply to."""
BY_SENDER = ("sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps")


def find(config: Config, instance: Instance) -> Iterator[Finding]:
    """What happens to the stamp behind the milter."""
    patterns = {stream.pattern.domain: stream.pattern for stream in config.stream if stream.pattern}
    for pattern in patterns.values():
        yield from _rewritten(pattern, instance)
        yield from _masqueraded(pattern, instance)
    for stream in config.stream:
        if stream.pattern or stream.static_sender:
            yield from _routed_by_old_sender(stream, instance)
    yield from _copies(config, instance)


def _rewritten(pattern: Pattern, instance: Instance) -> Iterator[Finding]:
    address = sample(pattern)
    for name, classes in REWRITES.items():
        if classes and "envelope_sender" not in instance.elements(classes):
            continue
        found = instance.finds(name, *address_keys(address))
        if found and found[1] != address:
            text = f"{name}: {found[0]} turns the stamped sender {address} into {found[1]}: no report comes back"
            yield critical("stamp-rewritten", text, f"let {found[0]} leave @{pattern.domain} alone")


def _masqueraded(pattern: Pattern, instance: Instance) -> Iterator[Finding]:
    """The first domain that is above it decides; `!domain` leaves it alone (postconf(5))."""
    if "envelope_sender" not in instance.elements("masquerade_classes"):
        return
    for element in instance.elements("masquerade_domains"):
        domain = element.lstrip("!").lower()
        if pattern.domain == domain or pattern.domain.endswith(f".{domain}"):
            if not element.startswith("!") and pattern.domain != domain:
                text = (
                    f"masquerade_domains makes {domain} of {pattern.domain} in the stamped sender: reports go to "
                    f"{domain}, where nobody knows the address"
                )
                others = ", ".join(instance.elements("masquerade_domains"))
                yield critical("stamp-masqueraded", text, f"masquerade_domains = !{pattern.domain}, {others}")
            return


def _routed_by_old_sender(stream: Stream, instance: Instance) -> Iterator[Finding]:
    """The way is chosen by the sender that the milter has set: what names the old one no longer applies."""
    now = sample(stream.pattern) if stream.pattern else str(stream.static_sender)
    for name in BY_SENDER:
        for sender in stream.match.sender:
            was = sender.lstrip("*")
            keys = address_keys(was) if not was.startswith("@") else (was,)
            old, new = instance.finds(name, *keys), instance.finds(name, *address_keys(now))
            if old and (new is None or new[1] != old[1]):
                text = (
                    f"{name}: {old[0]} sends mail from {sender} by {old[1]}; stamped, it comes from "
                    f"@{now.rpartition('@')[2]} and goes another way"
                )
                yield warning("routed-by-old-sender", text, f"@{now.rpartition('@')[2]}  {old[1]}")


def _copies(config: Config, instance: Instance) -> Iterator[Finding]:
    always = instance.value("always_bcc")
    copies = {one.lower() for one in config.policy.copies}
    if always and always.lower() not in copies and always.rpartition("@")[2].lower() not in copies:
        text = f"always_bcc: when {always} fails, the report is about mail to somebody else, who has not failed"
        yield warning("copies-not-named", text, f'copies = ["{always}"]', key="policy.copies")
    for name in ("sender_bcc_maps", "recipient_bcc_maps"):
        if instance.value(name) and not config.policy.copies:
            text = f"{name} adds recipients that no record has: name them, so that their failures count for nobody"
            yield hint("copies-not-named", text, 'copies = ["archive@example.com"]', key="policy.copies")
