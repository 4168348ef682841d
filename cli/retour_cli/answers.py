"""Answers: what a postmaster says of their domain at the beginning, and the first configuration that follows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

from retour_cli.postfix.instance import Instance
from retour_policy.address import domain_ascii, is_domain
from retour_policy.errors import InputError
from retour_policy.tokens.verp import MAX_SRS_OCTETS, Pattern

PREFIXES = ("b-%", "b%")
"""Of a domain that only returned mail comes to: the longest that forwarders leave whole is taken."""
PREFIXES_BESIDE_MAILBOXES = ("newsletter-%", "news-%", "b-%", "b%")
"""Of a domain with mailboxes, where it should be plain what these addresses are."""


@dataclass(frozen=True)
class Answers:
    """The domain of returned mail, whether people have mailboxes in it, who is postmaster, and the first sender."""

    domain: str
    has_mailboxes: bool
    postmaster: str
    sender: str

    @classmethod
    def of(
        cls, domain: str, *, has_mailboxes: bool = False, postmaster: str | None = None, sender: str | None = None
    ) -> Answers:
        """With what was not said filled in: both lie in the domain above. Raises `InputError`."""
        name = domain_ascii(domain)
        if not is_domain(name):
            raise InputError(f"{domain!r} is not a domain; for example bounces.example.com")
        above = name if has_mailboxes else _above(name)
        role = f"postmaster@{above}" if has_mailboxes or above != name else "postmaster"
        return cls(name, has_mailboxes, postmaster or role, sender or f"newsletter@{above}")

    @property
    def main_domain(self) -> str:
        """The domain of the people who send."""
        return self.domain if self.has_mailboxes else _above(self.domain)

    @property
    def pattern(self) -> str:
        """The pattern of envelope senders: of those that forwarders (SRS) leave whole, the one that says most."""
        prefixes = PREFIXES_BESIDE_MAILBOXES if self.has_mailboxes else PREFIXES
        patterns = [f"{prefix}@{self.domain}" for prefix in prefixes]
        fitting = (one for one in patterns if Pattern.parse(one).length() <= MAX_SRS_OCTETS)
        return next(fitting, patterns[-1])

    def configuration(self, places: Mapping[str, str]) -> str:
        """The commented configuration, with these answers; `places` has the paths, by their marks."""
        text = files("retour_policy.config").joinpath("example.toml").read_text("utf-8")
        values = {
            **places,
            "@POSTMASTER@": self.postmaster,
            "@DOMAIN@": self.domain,
            "@PARENT@": self.main_domain,
            "@PATTERN@": self.pattern,
            "@SENDER@": self.sender,
        }
        escaped = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}  # as TOML does
        text = re.sub("|".join(values), lambda found: escaped[found[0]], text)
        if self.has_mailboxes:
            text = text.replace("mailbox_domains = []", f'mailbox_domains = ["{self.domain}"]', 1)
        return text


def doubts(domain: str, postfix: Instance | None, sender: str | None = None) -> Iterator[str]:
    """Why a domain probably has mailboxes, so that taking all of its mail would lose people theirs."""
    if _above(domain) == domain:
        yield "it is no subdomain"
    if sender and domain_ascii(sender.rpartition("@")[2]) == domain:
        yield f"{sender} lies in it"
    if postfix:
        yield from (f"Postfix has it in {name}" for name in postfix.classes(domain) if name != "relay_domains")
        yield from (f"Postfix has it as {name}" for name in ("mydomain", "myorigin") if postfix.value(name) == domain)


def refuse_mailboxes(domain: str, why: list[str]) -> None:
    """Raise `InputError` that says what to do instead, if there is any doubt."""
    if not why:
        return
    raise InputError(
        f"{domain} looks like a domain with mailboxes: {', '.join(why)}. As a bounce domain it would get only returned "
        "mail, and all other mail to it would be refused.\n"
        f"Best is a subdomain that nothing else uses: --domain bounces.{domain}\n"
        "Where the sender must be in this very domain: --mailboxes, and postfix-examples/main-domain\n"
        "If nobody has a mailbox in it: --no-mailboxes"
    )


def _above(domain: str) -> str:
    """The domain above it; of one that has none above, itself."""
    above = domain.partition(".")[2]
    return above if is_domain(above) else domain
