"""Names: what the DNS answers, with errors as values: no answer is not the same as no record."""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.rdatatype
import dns.resolver

LIFETIME_S = 5.0
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type as text; `reached` is false where no server answered."""

    records: tuple[str, ...] = ()
    reached: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether it is certain that there is none."""
        return self.reached and not self.records


class Names:
    """Asks the host's resolver, or another one (`server`, as host or host:port)."""

    def __init__(self, server: str | None = None) -> None:
        self._resolver: dns.resolver.Resolver | None = None
        try:
            self._resolver = dns.resolver.Resolver(configure=server is None)
        except dns.resolver.NoResolverConfiguration:
            return
        if server:
            host, _, port = server.partition(":")
            self._resolver.nameservers, self._resolver.port = [host], int(port or DNS_PORT)
        self._resolver.lifetime = LIFETIME_S

    def ask(self, name: str, kind: str) -> Answer:
        """The records; of TXT each whole, its strings put together (RFC 7208 section 3.3)."""
        if self._resolver is None:
            return Answer(reached=False)
        try:
            found = self._resolver.resolve(name, kind, search=False)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            return Answer()
        except (dns.exception.DNSException, OSError, UnicodeError):
            return Answer(reached=False)
        if kind == "TXT":
            return Answer(tuple(b"".join(one.strings).decode("utf-8", "replace") for one in found))
        return Answer(tuple(one.to_text() for one in found))

    def addresses(self, name: str) -> Answer:
        """Its IPv4 and IPv6 addresses."""
        four, six = self.ask(name, "A"), self.ask(name, "AAAA")
        return Answer((*four.records, *six.records), four.reached or six.reached)
