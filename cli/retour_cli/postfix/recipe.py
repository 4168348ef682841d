"""Recipe: what must be added to the Postfix that is there, so that it works with Retour; nothing it has is lost. Pure.

The recipe for a domain of its own is postfix-examples/basic, that for patterns in a domain with mailboxes
postfix-examples/main-domain. Here they are merged into what main.cf and master.cf say already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from retour_cli.postfix import milters
from retour_cli.postfix.instance import Instance, transport_keys
from retour_cli.postfix.lists import split_list
from retour_cli.postfix.ways import TRANSPORT, is_out_of_reach, lookup_table, next_hop, socket_name
from retour_policy.address import domain_of
from retour_policy.config.model import Config
from retour_policy.tokens import token
from retour_policy.tokens.verp import Pattern

Kind = Literal["main", "option", "service"]
INLINE_REGEXP = (3, 7)
"""The Postfix that has `regexp:{ ... }` in main.cf first."""
FORM = "retour_form"
"""The setting of our own that says which addresses of a domain with mailboxes are Retour's."""
DELIVERING = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains")
RECIPIENTS = {
    "mydestination": "local_recipient_maps",
    "virtual_mailbox_domains": "virtual_mailbox_maps",
    "relay_domains": "relay_recipient_maps",
}
"""Which tables say who exists, by the class of the domain (ADDRESS_CLASS_README)."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One setting of main.cf, one option of a service, or one service of master.cf: what it is, and what it becomes."""

    kind: Kind
    name: str
    before: str | None
    after: str
    why: str

    @property
    def file(self) -> str:
        """Where it stands."""
        return "main.cf" if self.kind == "main" else "master.cf"


@dataclass(frozen=True)
class Plan:
    """All edits, what must be mended by hand before them, and what is good to know."""

    edits: tuple[Edit, ...]
    obstacles: tuple[str, ...]


def plan(config: Config, instance: Instance) -> Plan:
    """What to add to this Postfix for this configuration."""
    recipe = _Recipe(config, instance)
    edits = (edit for edit in recipe.edits() if edit.after != edit.before)
    return Plan(tuple(edits), tuple(recipe.obstacles()))


def sample(pattern: Pattern) -> str:
    """An address that the pattern could have made; it is not genuine."""
    return pattern.address("a" * token.LENGTH)


class _Recipe:
    def __init__(self, config: Config, instance: Instance) -> None:
        self.config, self.postfix = config, instance
        self.milter = socket_name(config.milter.socket, instance.queue, "milter")
        self.lookup = lookup_table(config.lmtpd.lookup, instance.queue)
        self.hop = next_hop(config.lmtpd.listen, instance.queue)
        self.domains = sorted(config.bounce_domains)
        patterns = dict.fromkeys(stream.pattern for stream in config.stream if stream.pattern)
        self.beside_mailboxes = [one for one in patterns if one.domain not in config.bounce_domains]
        self.addresses = sorted(one for one in config.static_senders if domain_of(one) not in config.bounce_domains)

    def edits(self) -> Iterator[Edit]:
        yield from self._milters()
        if self.domains:
            yield self._relay_domains()
            yield self._relay_recipients()
        if self.beside_mailboxes:
            yield from self._among_mailboxes()
        if self.domains or self.addresses or self.beside_mailboxes:
            yield self._transports()
            yield from self._transport()

    def obstacles(self) -> Iterator[str]:
        for domain in self.domains:
            for name in self.postfix.classes(domain):
                if name in DELIVERING:
                    yield f"{domain} is in {name}, so Postfix would deliver its mail itself: take it out there"
        for domain in sorted({one.domain for one in self.beside_mailboxes}):
            if "virtual_alias_domains" in self.postfix.classes(domain):
                yield (
                    f"{domain} is in virtual_alias_domains, where no pattern can be: an address there is only another "
                    "name; take a subdomain, or make it a virtual_mailbox_domain"
                )
        for name, socket, programs in (
            ("milter.socket", self.milter, ("smtpd", "cleanup")),
            ("lmtpd.lookup", self.lookup, ("smtpd",)),
        ):
            if is_out_of_reach(socket, self.postfix, programs):
                yield (
                    f"{name} lies outside of {self.postfix.queue}, where Postfix's chrooted services cannot reach it: "
                    f'set it to "unix:{self.postfix.queue}/retour/..." in retour.toml'
                )
        if self._needs_inline_regexp() and self.postfix.version < INLINE_REGEXP:
            yield f"this needs Postfix 3.7 or newer, and this is {self.postfix.value('mail_version')}"

    def _milters(self) -> Iterator[Edit]:
        for name, of in (("smtpd_milters", "mail over SMTP"), ("non_smtpd_milters", "mail from sendmail(1)")):
            before = self.postfix.main.get(name)
            if not milters.contains(self.postfix.elements(name), self.milter):
                after = milters.merged(before or "", self._element(), self.postfix)
                yield Edit("main", name, before, after, f"Retour's milter stamps {of}, before it is signed")
        for service in self.postfix.running("smtpd"):
            own = service.options.get("smtpd_milters")
            if milters.takes_back(service, self.postfix):
                if own is None and not milters.sees_no_milters(service, self.postfix):
                    why = "a content filter hands mail back here: it must not be stamped twice"
                    before = self.postfix.main.get("smtpd_milters", "")
                    yield Edit("option", f"{service.path}/smtpd_milters", None, before, why)
            elif own and not milters.contains(self.postfix.elements("smtpd_milters", service), self.milter):
                after = milters.merged(own, self._element(), self.postfix)
                why = "this service has a list of its own, which replaces that of main.cf"
                yield Edit("option", f"{service.path}/smtpd_milters", own, after, why)

    def _element(self) -> str:
        """Ours; with an action of its own where main.cf would let mail go unstamped while we are away."""
        if self.postfix.value("milter_default_action") == "tempfail":
            return self.milter
        return f"{{ {self.milter}, default_action=tempfail }}"

    def _relay_domains(self) -> Edit:
        before = self.postfix.main.get("relay_domains")
        base = before if before is not None else "$mydestination" if self.postfix.value("relay_domains") else ""
        there = self.postfix.elements("relay_domains")
        missing = [domain for domain in self.domains if domain not in there]
        after = ", ".join([*([base] if base else []), *missing]) if missing else before or ""
        return Edit("main", "relay_domains", before, after, "Postfix takes mail for the bounce domain")

    def _relay_recipients(self) -> Edit:
        before = self.postfix.main.get("relay_recipient_maps")
        why = "forged addresses are refused at RCPT: Postfix asks Retour, which checks the signature"
        if self.lookup in self.postfix.elements("relay_recipient_maps"):
            return Edit("main", "relay_recipient_maps", before, before or "", why)
        base = before or (self._all_others() if self._relays_for_others() else "")
        return Edit("main", "relay_recipient_maps", before, ", ".join(filter(None, (base, self.lookup))), why)

    def _relays_for_others(self) -> bool:
        return any(one not in self.domains for one in self.postfix.elements("relay_domains"))

    def _all_others(self) -> str:
        """Without such a table every recipient of a relay domain is taken; that stays so for the other domains."""
        return f"regexp:{{ {{ !/@({'|'.join(map(_literal, self.domains))})$$/ x }} }}"

    def _needs_inline_regexp(self) -> bool:
        return bool(self.beside_mailboxes) or any("regexp:{" in edit.after for edit in self.edits())

    def _transports(self) -> Edit:
        before = self.postfix.main.get("transport_maps")
        missing = [key for key in (*self.domains, *self.addresses) if not self._leads_here(key)]
        tables = [self._table(missing)] if missing else []
        if self.beside_mailboxes and f"${FORM}" not in (before or ""):
            tables.append(f"regexp:{{ {{ ${FORM} {self.hop} }} }}")
        after = ", ".join([*tables, *([before] if before else [])])
        return Edit("main", "transport_maps", before, after, "returned mail goes to Retour over LMTP")

    def _leads_here(self, key: str) -> bool:
        address = key if "@" in key else f"b{'a' * token.LENGTH}@{key}"
        found = self.postfix.finds("transport_maps", *transport_keys(address))
        return found is not None and found[1].startswith(f"{TRANSPORT}:")

    def _table(self, keys: list[str]) -> str:
        """By domain; where a table answers for whole addresses already, ours must too, for these are asked first."""
        addresses = [key if "@" in key else f"b{'a' * token.LENGTH}@{key}" for key in keys]
        if any(self.postfix.finds("transport_maps", address) for address in addresses):
            patterns = "|".join(f"^{_literal(key)}" if "@" in key else f"@{_literal(key)}" for key in keys)
            return f"regexp:{{ {{ /({patterns})$$/ {self.hop} }} }}"
        return f"inline:{{ {', '.join(f'{key}={self.hop}' for key in keys)} }}"

    def _transport(self) -> Iterator[Edit]:
        if self.postfix.service(TRANSPORT):
            return
        lmtp = self.postfix.service("lmtp")
        reachable = "y" if lmtp and lmtp.chroot and not self.hop.startswith(f"{TRANSPORT}:unix:/") else "n"
        line = f"{TRANSPORT} unix - - {reachable} - - lmtp -o syslog_name=postfix/retour -o soft_bounce=yes"
        why = "a transport of its own: a report that cannot be delivered has no sender to tell, so it stays queued"
        yield Edit("service", f"{TRANSPORT}/unix", None, line, why)

    def _among_mailboxes(self) -> Iterator[Edit]:
        main = self.postfix.main
        forms = "|".join(f"{_literal(one.prefix)}[a-z2-7]{{{token.LENGTH}}}{_literal(one.suffix)}([+][^@]+)?"
                         f"@{_literal(one.domain)}" for one in self.beside_mailboxes)  # fmt: skip
        yield Edit("main", FORM, main.get(FORM), f"/^({forms})$$/", "what has this form is returned mail")
        for name in sorted({self._recipients(one.domain) for one in self.beside_mailboxes}):
            before, base = main.get(name), self.postfix.literal.get(name, "")
            after = base if f"${FORM}" in base else ", ".join(filter(None, (base, f"regexp:{{ {{ ${FORM} x }} }}")))
            yield Edit("main", name, before, after, "such recipients exist, whoever else does")
        access = f"check_recipient_access regexp:{{ {{ ${FORM} retour_token }} }}"
        why = "a genuine token is let in, a made-up one refused"
        yield self._restriction("smtpd_recipient_restrictions", access, why)
        yield self._restriction("smtpd_restriction_classes", "retour_token, retour", "the two classes of that")
        ask = f"check_recipient_access {self.lookup}, check_recipient_access static:{{550 5.1.1 User unknown}}"
        yield Edit("main", "retour_token", main.get("retour_token"), ask, "Postfix asks Retour, else it refuses")
        yield Edit("main", "retour", main.get("retour"), "permit", "what Retour answers for a genuine token")

    def _restriction(self, name: str, ours: str, why: str) -> Edit:
        before, base = self.postfix.main.get(name), self.postfix.literal.get(name, "")
        there = all(part in split_list(base) for part in split_list(ours))
        return Edit("main", name, before, base if there else ", ".join(filter(None, (ours, base))), why)

    def _recipients(self, domain: str) -> str:
        found = self.postfix.classes(domain)
        return RECIPIENTS.get(found[0] if found else "", RECIPIENTS["mydestination"])


def _literal(text: str) -> str:
    """Text in a regular expression of POSIX, without a backslash or a $ that main.cf would take for its own."""
    return re.sub(r"[^\w@-]", lambda found: f"[{found[0]}]" if found[0] != "^" else r"\^", text)
