"""Instance: one Postfix, as postconf(1) tells of it, and what its tables answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retour_cli.postfix.lists import expand, split_list

Lookup = Callable[[str, str], str | None]
"""What the table answers for a key; None: nothing, or it cannot be asked now."""
CLASSES = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains", "relay_domains")
"""The settings that say which domains Postfix takes mail for (ADDRESS_CLASS_README)."""
_TABLE = re.compile(r"[a-z]+:.+", re.DOTALL)


@dataclass(frozen=True)
class Service:
    """A service of master.cf."""

    name: str
    kind: str
    program: str
    chroot: bool
    options: Mapping[str, str] = field(default_factory=dict)
    """Its `-o name=value`, as they stand there."""

    @property
    def path(self) -> str:
        """As postconf(1) writes it: `smtp/inet`."""
        return f"{self.name}/{self.kind}"


@dataclass(frozen=True)
class Instance:
    """A Postfix. `main` has what main.cf says; all settings are in `literal` as written, in `values` expanded."""

    config: Path
    main: Mapping[str, str]
    literal: Mapping[str, str]
    values: Mapping[str, str]
    services: tuple[Service, ...]
    lookup: Lookup

    def value(self, name: str, service: Service | None = None) -> str:
        """A setting, expanded, as this service sees it."""
        if service and name in service.options:
            return expand(service.options[name], self.values)
        return self.values.get(name, "")

    def elements(self, name: str, service: Service | None = None) -> list[str]:
        """The elements of a list, expanded."""
        return split_list(self.value(name, service))

    @property
    def queue(self) -> Path:
        """The folder that relative paths start from, and chrooted services live in."""
        return Path(self.value("queue_directory"))

    @property
    def version(self) -> tuple[int, ...]:
        """(3, 7, 11)."""
        return tuple(map(int, re.findall(r"\d+", self.value("mail_version"))[:3]))

    def running(self, program: str) -> Iterator[Service]:
        """The services that run this program."""
        return (service for service in self.services if service.program == program)

    def service(self, name: str, kind: str = "unix") -> Service | None:
        """The service of that name."""
        return next((one for one in self.services if (one.name, one.kind) == (name, kind)), None)

    def classes(self, domain: str) -> list[str]:
        """Which of `CLASSES` have this domain."""
        return [name for name in CLASSES if self.has_domain(name, domain)]

    def has_domain(self, name: str, domain: str) -> bool:
        """Whether the list of domains called `name` has this one; the first element that matches decides."""
        below = name in self.elements("parent_domain_matches_subdomains")
        for element in self.elements(name):
            negated, element = element.startswith("!"), element.lstrip("!")
            if self._matches(element, domain, below):
                return not negated
        return False

    def finds(self, tables: str, *keys: str, service: Service | None = None) -> tuple[str, str] | None:
        """The first answer of the tables in the setting `tables`, key by key as Postfix asks, and its table."""
        for key in keys:
            for table in self.elements(tables, service):
                if _TABLE.fullmatch(table) and (answer := self.lookup(table, key)) is not None:
                    return table, answer
        return None

    def _matches(self, element: str, domain: str, below: bool) -> bool:
        if element.startswith("/"):
            return self._file_has(Path(element), domain, below)
        if _TABLE.fullmatch(element):
            return self.lookup(element, domain) is not None
        element = element.lower()
        return domain == element or ((below or element.startswith(".")) and domain.endswith("." + element.lstrip(".")))

    def _file_has(self, path: Path, domain: str, below: bool) -> bool:
        try:
            words = split_list(path.read_text("utf-8", "replace"))
        except OSError:
            return False
        return any(self._matches(word, domain, below) for word in words if not word.startswith("/"))


def address_keys(address: str) -> tuple[str, ...]:
    """The keys that Postfix asks address tables for: the address, then @domain (virtual(5), canonical(5))."""
    return address, "@" + address.rpartition("@")[2]


def transport_keys(address: str) -> tuple[str, ...]:
    """Those of transport(5): the address, the domain, and each domain above it as `.domain`."""
    domain = address.rpartition("@")[2]
    labels = domain.split(".")
    return address, domain, *("." + ".".join(labels[n:]) for n in range(1, len(labels)))
