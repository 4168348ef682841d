"""SPF: whether a domain's policy lets an address send for it (RFC 7208); what it cannot tell, it does not guess."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from retour_cli.doctor.names import Names

MAX_LOOKUPS = 10  # RFC 7208 section 4.6.4
_TAG = "v=spf1"


@dataclass
class Spf:
    """One evaluation for one address."""

    names: Names
    address: str
    lookups: int = field(default=0)

    def passes(self, domain: str) -> bool | None:
        """Whether the address may send; None where that cannot be told: macros, `exists`, no answer, too many."""
        policies = records(self.names, domain)
        if policies is None or len(policies) > 1:
            return None
        return self._policy(policies[0], domain) if policies else False

    def _policy(self, text: str, domain: str) -> bool | None:
        redirect = None
        for term in text.split()[1:]:
            if "%" in term:
                return None
            if term.startswith("redirect="):
                redirect = term.partition("=")[2]
                continue
            matches = self._mechanism(term.lstrip("+-~?").lower(), domain)
            if matches is None:
                return None
            if matches:
                return term[0] not in "-~?"
        return self._below(redirect) if redirect else False

    def _mechanism(self, term: str, domain: str) -> bool | None:
        name, _, value = term.partition(":")
        kind, _, length = name.partition("/")
        if kind == "all":
            return True
        if kind in ("ip4", "ip6"):
            return self._in_network(value)
        if kind == "include":
            return self._below(value)
        if kind in ("a", "mx"):
            target, _, after = value.partition("/")
            return self._of_host(kind, target or domain, length or after)
        return None if kind in ("exists", "ptr") else False

    def _below(self, domain: str) -> bool | None:
        self.lookups += 1
        return None if self.lookups > MAX_LOOKUPS else self.passes(domain)

    def _in_network(self, text: str) -> bool | None:
        try:
            return ipaddress.ip_address(self.address) in ipaddress.ip_network(text, strict=False)
        except ValueError:
            return None

    def _of_host(self, kind: str, name: str, length: str) -> bool | None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            return None
        hosts = [name]
        if kind == "mx":
            hosts = [record.split()[-1] for record in self.names.ask(name, "MX").records]
        found = [one for host in hosts for one in self.names.addresses(host).records]
        return any(self._in_network(f"{one}/{length}" if length and ":" not in one else one) for one in found)


def records(names: Names, domain: str) -> list[str] | None:
    """The SPF policies of a domain; None where the DNS does not answer."""
    answer = names.ask(domain, "TXT")
    if not answer.reached:
        return None
    return [text for text in answer.records if text.lower().split(" ")[0] == _TAG]
