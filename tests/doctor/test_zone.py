"""Zone: records that lose reports are found, by a DNS of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.configurations import STREAM, Made, configured
from lab.zone_server import ZoneServer
from retour_cli.doctor import zone
from retour_cli.doctor.finding import Finding
from retour_cli.doctor.names import Names
from retour_cli.doctor.spf import Spf

D = "bounces.example.com"
WELL = {
    (D, "MX"): ["10 mx.example.com."],
    (D, "TXT"): ['"v=spf1 a:mx.example.com -all"', '"something else"'],
    ("mx.example.com", "A"): ["192.0.2.25"],
    ("_dmarc.example.com", "TXT"): ['"v=DMARC1; p=reject"'],
}


@pytest.fixture
def server() -> Iterator[ZoneServer]:
    with ZoneServer(WELL) as server:
        yield server


def found(server: ZoneServer, postfix: Made, text: str = STREAM, **main: str) -> list[Finding]:
    return list(zone.find(configured(text), postfix(main), Names(server.address)))


def names(findings: list[Finding]) -> list[str]:
    return [one.name for one in findings]


def test_of_what_is_well_nothing_is_said(server: ZoneServer, postfix: Made) -> None:
    """MX, SPF and DMARC as setup prints them."""
    assert found(server, postfix) == []


@pytest.mark.parametrize(
    ("records", "name"),
    [
        ({(D, "MX"): []}, "mx-missing"),
        ({(D, "MX"): ["0 ."]}, "mx-null"),
        ({(D, "MX"): ["10 mail.example.net."], ("mail.example.net", "A"): ["192.0.2.99"]}, "mx-elsewhere"),
        ({(D, "TXT"): ['"v=spf2"']}, "spf-missing"),
        ({(D, "TXT"): ['"v=spf1 -all"', '"v=spf1 mx -all"']}, "spf-twice"),
        ({(D, "TXT"): ['"v=spf1 ip4:192.0.2.0/28 -all"']}, "spf-lacks-host"),
        ({("_dmarc.example.com", "TXT"): ['"v=DMARC1; p=none; aspf=s"']}, "dmarc-strict"),
    ],
)
def test_a_record_that_is_wrong(
    server: ZoneServer, postfix: Made, records: dict[tuple[str, str], list[str]], name: str
) -> None:
    """Named, with the line that is right."""
    server.records |= records
    (one,) = found(server, postfix)
    assert one.name == name and one.mend


def test_a_bounce_domain_of_another_organisation(server: ZoneServer, postfix: Made) -> None:
    """SPF does not count for the From domain's DMARC then; without DMARC there is nothing to align."""
    other = STREAM.replace("news@example.com", "news@shop.example")
    server.records["_dmarc.shop.example", "TXT"] = ['"v=DMARC1; p=reject"']
    assert names(found(server, postfix, other)) == ["dmarc-not-aligned"]
    del server.records["_dmarc.shop.example", "TXT"]
    assert found(server, postfix, other) == []


def test_an_mx_by_another_name_may_lead_here(server: ZoneServer, postfix: Made) -> None:
    """By an address of this host, or one that main.cf says leads here."""
    server.records |= {(D, "MX"): ["10 in.example.com."], ("in.example.com", "A"): ["127.0.0.1"]}
    assert found(server, postfix) == []
    server.records["in.example.com", "A"] = ["192.0.2.77"]
    assert names(found(server, postfix)) == ["mx-elsewhere"]
    assert found(server, postfix, proxy_interfaces="192.0.2.77") == []


def test_a_relay_sends_from_addresses_of_its_own(server: ZoneServer, postfix: Made) -> None:
    """Nobody here knows them, so its SPF is not judged."""
    server.records[D, "TXT"] = ['"v=spf1 include:relay.example -all"']
    assert found(server, postfix, relayhost="[relay.example]:587") == []


def test_a_dns_that_does_not_answer_is_said_once(postfix: Made) -> None:
    """A hint, and no record is called missing."""
    with ZoneServer() as server:
        silent = Names("127.0.0.1:1")
    assert server and names(list(zone.find(configured(), postfix(), silent))) == ["dns-silent"]


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        ("ip4:192.0.2.25 -all", True), ("ip4:192.0.2.0/24 -all", True), ("ip4:192.0.2.26 -all", False),
        ("-ip4:192.0.2.25 +all", False), ("a:mx.example.com -all", True), ("a:mx.example.com/24 ~all", True),
        ("mx -all", True), ("include:_spf.example.com -all", True), ("redirect=_spf.example.com", True),
        ("~all", False), ("+all", True), ("?all", False), ("ip6:2001:db8::/32 -all", False), ("", False),
        ("exists:%{i}.example.com -all", None), ("ptr -all", None), ("include:" + D, None), ("a:%{d} -all", None),
    ],
)  # fmt: skip
def test_spf_is_judged_as_receivers_do(server: ZoneServer, policy: str, passes: bool | None) -> None:
    """RFC 7208 section 5; what cannot be told is not guessed, and a policy that includes itself ends."""
    server.records |= {
        (D, "TXT"): [f'"v=spf1 {policy}"'],
        ("_spf.example.com", "TXT"): ['"v=spf1 ip4:192.0.2.25 -all"'],
    }
    assert Spf(Names(server.address), "192.0.2.25").passes(D) is passes
