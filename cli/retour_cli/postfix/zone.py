"""Zone: the DNS records that a bounce domain needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retour_cli.postfix.instance import Instance
from retour_policy.config.model import Config


@dataclass(frozen=True, slots=True)
class Record:
    """One record, as a zone file has it."""

    name: str
    kind: str
    data: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}.  {self.kind:<4} {self.data}"


def records(config: Config, instance: Instance) -> Iterator[Record]:
    """Those of the domains of patterns that no mailboxes are in: they have theirs."""
    host = instance.value("myhostname")
    for domain in sorted(config.bounce_domains):
        yield Record(domain, "MX", f"10 {host}.", "leads returned mail to this Postfix")
        yield Record(domain, "TXT", f'"{spf(instance)}"', _why_spf(instance))


def spf(instance: Instance) -> str:
    """The policy (RFC 7208) that names the hosts which send for this Postfix."""
    relay = relay_host(instance)
    return f"v=spf1 a:{relay or instance.value('myhostname')} -all"


def relay_host(instance: Instance) -> str:
    """The host that all mail is sent through, if any."""
    return instance.value("relayhost").partition("]")[0].strip("[").partition(":")[0]


def _why_spf(instance: Instance) -> str:
    why = "receivers check SPF for the envelope sender, whose domain this is now"
    relay = relay_host(instance)
    return f"{why}; mail leaves by {relay}: use the addresses that it sends from" if relay else why
