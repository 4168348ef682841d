"""Routing: whether mail to the bounce domains is taken, looked up and delivered to Retour, and nothing swallows it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from retour_cli.doctor.finding import Finding, critical, warning
from retour_cli.postfix.instance import Instance, address_keys, transport_keys
from retour_cli.postfix.lists import split_list
from retour_cli.postfix.recipe import DELIVERING, sample
from retour_cli.postfix.ways import TRANSPORT, is_out_of_reach, lookup_table, next_hop
from retour_policy.config.model import Config

SETUP = "retour setup --apply"
RESTRICTIONS = ("smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions",
                "smtpd_recipient_restrictions", "smtpd_relay_restrictions", "smtpd_data_restrictions",
                "smtpd_end_of_data_restrictions")  # fmt: skip
EMPTY = ("check_sender_access", "check_sender_ns_access", "check_sender_mx_access")
REFUSES = re.compile(r"\s*(reject|[45]\d\d|defer|discard)", re.IGNORECASE)


def find(config: Config, instance: Instance) -> Iterator[Finding]:
    """What is wrong with the way back."""
    patterns = {stream.pattern.domain: stream.pattern for stream in config.stream if stream.pattern}
    for domain, pattern in sorted(patterns.items()):
        if domain in config.bounce_domains:
            yield from _class(domain, instance)
            yield from _recipients(domain, sample(pattern), config, instance)
        yield from _swallowed(sample(pattern), instance)
        yield from _transport(sample(pattern), domain, config, instance)
    if patterns:
        yield from _reach(config, instance)
        yield from _empty_sender(instance)


def _class(domain: str, instance: Instance) -> Iterator[Finding]:
    found = instance.classes(domain)
    for name in found:
        if name in DELIVERING:
            text = f"{domain} is in {name}: Postfix delivers its mail itself, and no report reaches Retour"
            yield critical(f"domain-in-{name.replace('_', '-')}", text, f"take {domain} out of {name}")
    if not found:
        text = f"Postfix takes no mail for {domain}: all reports are refused (relay access denied)"
        yield critical("domain-not-taken", text, SETUP)


def _recipients(domain: str, address: str, config: Config, instance: Instance) -> Iterator[Finding]:
    lookup = lookup_table(config.lmtpd.lookup, instance.queue)
    tables = instance.elements("relay_recipient_maps")
    if lookup not in tables:
        text = f"relay_recipient_maps does not ask Retour: forged addresses in {domain} are taken, and queued"
        yield warning("lookup-missing", text, SETUP)
    for table in tables:
        others = (key for key in address_keys(address) if table != lookup and instance.lookup(table, key) is not None)
        if key := next(others, None):
            text = f"relay_recipient_maps: {table} has {key}, so every forged address in {domain} is taken"
            yield warning("forgeries-taken", text, f"take {key} out of {table}")


def _swallowed(address: str, instance: Instance) -> Iterator[Finding]:
    """Mappings of recipients, which Postfix applies to reports on their way in."""
    for name in ("virtual_alias_maps", "canonical_maps", "recipient_canonical_maps"):
        found = instance.finds(name, *address_keys(address))
        if found and found[1] != address:
            text = f"{name}: {found[0]} turns {address} into {found[1]}, so reports go there and not to Retour"
            yield critical("reports-swallowed", text, f"let {found[0]} leave @{address.rpartition('@')[2]} alone")


def _transport(address: str, domain: str, config: Config, instance: Instance) -> Iterator[Finding]:
    hop = next_hop(config.lmtpd.listen, instance.queue)
    found = instance.finds("transport_maps", *transport_keys(address))
    if found is None or not found[1].startswith(f"{TRANSPORT}:"):
        goes = f"to {found[1]} (by {found[0]})" if found else "wherever other mail goes"
        yield critical("route-missing", f"mail to {domain} is not delivered to Retour, but {goes}", SETUP)
    elif found[1] != hop and "fd:" not in "".join(config.lmtpd.listen):
        text = f"transport_maps delivers mail to {domain} to {found[1]}, and Retour listens at {hop}"
        yield critical("route-elsewhere", text, f"{domain}  {hop}")
    service = instance.service(TRANSPORT)
    if service is None:
        text = f"master.cf has no service {TRANSPORT}, which transport_maps names: reports wait in the queue"
        yield critical("transport-missing", text, SETUP)
    elif instance.value("soft_bounce", service) != "yes":
        text = f"master.cf: without soft_bounce=yes a report that the service {TRANSPORT} cannot deliver is deleted"
        yield warning("reports-may-be-deleted", text, f"postconf -P {TRANSPORT}/unix/soft_bounce=yes")


def _reach(config: Config, instance: Instance) -> Iterator[Finding]:
    lookup = lookup_table(config.lmtpd.lookup, instance.queue)
    if is_out_of_reach(lookup, instance, ("smtpd",)):
        text = f"Postfix's smtpd is chrooted in {instance.queue}, and cannot ask {lookup}: reports are put off"
        mend = f'lookup = "unix:{instance.queue}/retour/lookup.sock"'
        yield critical("lookup-outside-chroot", text, mend, key="lmtpd.lookup")
    service = instance.service(TRANSPORT)
    hop = next_hop(config.lmtpd.listen, instance.queue).removeprefix(f"{TRANSPORT}:")
    if service and service.chroot and hop.startswith("unix:/"):
        text = f"the service {TRANSPORT} is chrooted in {instance.queue}, and cannot reach {hop}: reports wait"
        yield critical("route-outside-chroot", text, f"postconf -F {TRANSPORT}/unix/chroot=n", key="lmtpd.listen")


def _empty_sender(instance: Instance) -> Iterator[Finding]:
    """Reports have no sender (RFC 5321 section 6.1): restrictions that refuse <>."""
    key = instance.value("smtpd_null_access_lookup_key") or "<>"
    services = [None, *(one for one in instance.running("smtpd") if any(name in one.options for name in RESTRICTIONS))]
    for service in services:
        for name in RESTRICTIONS:
            if service and name not in service.options:
                continue
            words = split_list(instance.value(name, service))
            tables = [table for word, table in itertools.pairwise(words) if word in EMPTY]
            for table in tables:
                answer = instance.lookup(table, key)
                if answer and REFUSES.match(answer):
                    where = f"{name} of {service.path}" if service else name
                    text = f"{where}: {table} answers {answer!r} for mail without a sender, which every report is"
                    yield critical("empty-sender-refused", text, f"take {key} out of {table}")
