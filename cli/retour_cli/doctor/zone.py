"""Zone: whether the DNS leads reports here, lets this host send for the bounce domain, and keeps DMARC aligned."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from retour_cli.doctor.finding import Finding, critical, hint, warning
from retour_cli.doctor.names import Names
from retour_cli.doctor.spf import Spf, records
from retour_cli.postfix.instance import Instance
from retour_cli.postfix.zone import relay_host, spf
from retour_policy.address import domain_of
from retour_policy.config.model import Config, Stream


def find(config: Config, instance: Instance, names: Names) -> Iterator[Finding]:
    """What is wrong with the records of the bounce domains."""
    for domain in sorted(config.pattern_domains):
        yield from _mail_exchangers(domain, instance, names)
        yield from _sender_policy(domain, instance, names)
    for stream in config.stream:
        yield from _alignment(stream, names)


def _mail_exchangers(domain: str, instance: Instance, names: Names) -> Iterator[Finding]:
    answer = names.ask(domain, "MX")
    line = f"{domain}.  MX   10 {instance.value('myhostname')}."
    if not answer.reached:
        yield hint("dns-silent", f"the DNS does not answer for {domain}: its records were not looked at")
        return
    hosts = [record.split()[-1].rstrip(".").lower() for record in answer.records]
    if hosts == [""]:
        yield critical("mx-null", f"{domain} has a null MX (RFC 7505), which says that it takes no mail", line)
    elif not hosts and names.addresses(domain).is_empty:
        yield critical("mx-missing", f"{domain} has no MX record: no report arrives", line)
    elif not any(_is_here(host, instance, names) for host in hosts or [domain]):
        text = f"the MX of {domain} leads to {', '.join(hosts) or domain}, and that does not seem to be this host"
        yield warning("mx-elsewhere", text, line)


def _is_here(host: str, instance: Instance, names: Names) -> bool:
    if host == instance.value("myhostname").lower():
        return True
    found = names.addresses(host).records
    return any(one in instance.elements("proxy_interfaces") or _is_local(one) for one in found)


def _is_local(address: str) -> bool:
    """Whether this host has it: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _sender_policy(domain: str, instance: Instance, names: Names) -> Iterator[Finding]:
    policies = records(names, domain)
    line = f'{domain}.  TXT  "{spf(instance)}"'
    if policies is None:
        return
    if not policies:
        text = f"{domain} has no SPF record: mail from it has no SPF pass, which large receivers demand"
        yield warning("spf-missing", text, line)
    elif len(policies) > 1:
        yield warning("spf-twice", f"{domain} has {len(policies)} SPF records, so none of them holds", line)
    elif not relay_host(instance):
        for address in _leaves_by(instance, names):
            if Spf(names, address).passes(domain) is False:
                text = f"the SPF record of {domain} does not have {address}, which mail leaves by: {policies[0]}"
                yield warning("spf-lacks-host", text, line)


def _leaves_by(instance: Instance, names: Names) -> list[str]:
    bound = [instance.value(name) for name in ("smtp_bind_address", "smtp_bind_address6") if instance.value(name)]
    return bound or list(names.addresses(instance.value("myhostname")).records)


def _alignment(stream: Stream, names: Names) -> Iterator[Finding]:
    """DMARC (RFC 7489 section 3.1.2) asks that the domain of the sender is that of From, or of one organisation."""
    sender = stream.pattern.domain if stream.pattern else domain_of(stream.static_sender or "")
    for domain in sorted({domain_of(one) for one in stream.match.sender} - {""}):
        found = _policy(domain, names)
        if not sender or not found or "*" in domain:
            continue
        where, tags = found
        if tags.get("aspf") == "s" and sender != domain:
            text = (
                f"stream {stream.name}: DMARC of {domain} has aspf=s, so SPF for {sender} never counts for it; it is "
                "DKIM alone, signed by that domain, that lets mail through"
            )
            yield hint("dmarc-strict", text, f'_dmarc.{where}.  TXT  "... aspf=r ..."')
        elif sender != where and not sender.endswith(f".{where}"):
            text = (
                f"stream {stream.name}: SPF for {sender} does not count for mail from {domain} (DMARC): mail that "
                "is not signed by that domain fails"
            )
            yield warning("dmarc-not-aligned", text, f"envelope_from below {where}, such as b-%@bounces.{where}")


def _policy(domain: str, names: Names) -> tuple[str, dict[str, str]] | None:
    """The DMARC record of the domain or the nearest one above it, and where it stands."""
    labels = domain.split(".")
    for number in range(len(labels) - 1):
        where = ".".join(labels[number:])
        for text in names.ask(f"_dmarc.{where}", "TXT").records:
            tags = dict(part.strip().partition("=")[::2] for part in text.split(";"))
            if tags.get("v", "").strip() == "DMARC1":
                return where, {name.strip(): value.strip().lower() for name, value in tags.items()}
    return None
