"""The two recipes of docs/several-recipients.md, as they stand there, on a real Postfix."""

import re
from pathlib import Path

import pytest

from lab.ports import free_port
from lab.process import workspace
from lab.site import Site
from lab.wait import wait_until

PAGE = (Path(__file__).parents[2] / "docs/several-recipients.md").read_text()
STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
headers = { X-To = "{recipient}" }
suppressed = "drop"
"""
THREE = ["ok+one@example.net", "ok+two@example.net", "gone+three@example.net"]


def blocks(title):
    """The blocks of a section of the page, by their first line."""
    section = PAGE.partition(f"\n## {title}")[2].partition("\n## ")[0]
    found = re.findall(r"```\n# (.+?)\n(.*?)```", section, re.DOTALL)
    return dict(found)


def settings(block):
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in block.splitlines())}


@pytest.fixture(scope="module")
def xverp():
    main = settings(blocks("XVERP")["main.cf"])
    with workspace() as folder, Site(folder, STREAMS, main=main) as site:
        yield site


@pytest.fixture(scope="module")
def split():
    page = blocks("The split hop")
    first, more = page["master.cf, at submission (or smtpd) and at pickup"], page["master.cf, new lines"]
    inner = str(free_port())
    options = settings(first.replace("-o ", "").replace("10026", inner))
    with (
        workspace() as folder,
        Site(
            folder,
            STREAMS,
            main=settings(page["main.cf"]),
            smtpd_options=options,
            master=more.replace("10026", inner),
        ) as site,
    ):
        for name, value in options.items():
            site.postfix.run("postconf", "-P", f"pickup/unix/{name}={value}")
        site.postfix.run("postfix", "reload")
        yield site


def test_xverp_gives_each_recipient_a_sender_with_one_token(xverp):
    """Retour believes the part behind the token, where it names one on record: the failure is laid to the right one."""
    assert xverp.send("news@example.com", THREE).accepted
    senders = {to: xverp.destination.wait_to(to).sender for to in THREE[:2]}
    tokens = {re.fullmatch(r"b-([a-z2-7]{30})\+(.*)@bounces\.example\.com", one)[1] for one in senders.values()}
    assert len(tokens) == 1
    assert senders["ok+one@example.net"].endswith("+ok+one=example.net@bounces.example.com")
    wait_until(lambda: xverp.events("--kind", "bounce"), what="the bounce", seen=xverp.services["serve"].log)
    assert [one["address"] for one in xverp.events("--kind", "bounce")] == THREE[2:]


@pytest.mark.parametrize("way", ["smtp", "sendmail"])
def test_the_split_hop_gives_each_recipient_a_message_of_their_own(split, way):
    """Each has a token and headers of its own, whoever handed the message over; who is suppressed costs nobody else."""
    split.retour("suppressions", "add", "ok+away@example.net")
    to = [f"ok+{way}1@example.net", f"ok+{way}2@example.net"]
    if way == "smtp":
        assert split.send("news@example.com", [*to, "ok+away@example.net"]).accepted
    else:
        split.postfix.sendmail(b"Subject: x\n\nx\n", to=[*to, "ok+away@example.net"], from_="news@example.com")
    arrived = [split.destination.wait_to(one) for one in to]
    assert [one.headers("X-To") for one in arrived] == [[one] for one in to]
    assert len({one.sender for one in arrived}) == 2
    split.postfix.wait_queue_empty()
    assert not [one for one in split.destination.arrived if "ok+away@example.net" in one.recipients]
