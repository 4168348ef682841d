"""Zone server: a DNS of the test's own, on loopback; what it is not told does not exist."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL_S = 60


class ZoneServer:
    """Answers over UDP from `records`: (name, type) to the data, as a zone file has it. Change it at any time."""

    def __init__(self, records: Mapping[tuple[str, str], Sequence[str]] | None = None) -> None:
        self.records = {(name.lower(), kind): list(data) for (name, kind), data in (records or {}).items()}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="zone server", daemon=True)

    @property
    def address(self) -> str:
        """As `host:port`."""
        return "{}:{}".format(*self._socket.getsockname())

    def __enter__(self) -> ZoneServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())  # an empty datagram ends it
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            asked, client = self._socket.recvfrom(4096)
            if not asked:
                return
            self._socket.sendto(self._answer(dns.message.from_wire(asked)).to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if data := self.records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", kind, *data))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer
