"""The milter as a service: what it negotiates, how it reloads, drains, and bears a store that is down."""

import fcntl
import re
import signal
import smtplib
import socket
import struct
import sys
from contextlib import ExitStack

import pytest

from lab.process import Child, workspace
from lab.reports import failed
from lab.site import Site
from lab.wait import PATIENCE, wait_until
from retour_bounces import Report
from retour_cli.context import Context
from retour_policy.clock import DAY, system_clock
from retour_policy.messages.returned import ReturnRecorder
from retour_policy.messages.returned_message import ReturnedMessage
from retour_policy.messages.router import Route
from retour_policy.store import sends
from retour_policy.store.sends import NewSend
from retour_policy.tokens.token import draw_id

STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
headers = { X-Version = "one" }

[[stream]]
name = "trying"
match = { sender = ["trying@example.com"] }
envelope_from = "b-%@bounces.example.com"
policy = { hard = 1, hard_for = "1d", pause = "0s" }
"""
# A milter that is killed once a message is recorded, before it answers.
KILLED_BEFORE_THE_ANSWER = """
import os, signal
from retour_milter.backend import Backend
record = Backend.record
Backend.record = lambda *args, **named: (record(*args, **named), os.kill(os.getpid(), signal.SIGKILL))
from retour_cli.main import main
main()
"""
# libmilter/mfdef.h, as Postfix's smtpd_milters protocol 6 has it.
STEPS = {
    "connect": 0x1,
    "helo": 0x2,
    "mail": 0x4,
    "rcpt": 0x8,
    "body": 0x10,
    "header": 0x20,
    "eoh": 0x40,
    "unknown": 0x100,
    "data": 0x200,
}
NO_REPLY = {"header": 0x80, "connect": 0x1000}
MACRO_STAGES = {0: "connect", 1: "helo", 2: "mail", 3: "rcpt", 4: "data", 5: "end", 6: "eoh"}
ACTIONS = {"addheader": 0x1, "addrcpt": 0x4, "delrcpt": 0x8, "chgheader": 0x10, "chgfrom": 0x40}
ACTIONS |= {"addrcpt with parameters": 0x80, "setsymlist": 0x100}


@pytest.fixture(scope="module")
def shared():
    """A Postfix, a destination, a store and a configuration for all tests."""
    with workspace() as folder, Site(folder, STREAMS, services=()) as site:
        yield site


@pytest.fixture
def site(shared):
    """With a milter of its own, that begins with the same configuration and an empty log."""
    config, spool = shared.config.read_text(), shared.home / "spool"
    with ExitStack() as stack:
        shared.start("milter", stack)
        yield shared
    shared.config.write_text(config)
    (shared.folder / "milter.log").unlink()
    if spool.is_file():
        spool.unlink()
        spool.mkdir()


def client(site):
    session = smtplib.SMTP("127.0.0.1", site.postfix.smtp_port, timeout=PATIENCE)
    session.ehlo()
    return session


def reload(site, number=signal.SIGUSR1):
    """Send the signal and wait until the configuration is in force."""
    before = site.services["milter"].log().count("configuration reloaded")
    site.services["milter"].send_signal(number)
    wait_until(lambda: site.services["milter"].log().count("configuration reloaded") > before, what="a reload")


def arrived_version(site, to):
    site.send("news@example.com", to)
    return site.destination.wait_to(to).headers("X-Version")


def negotiate(path):
    """What the milter answers when the mail server offers everything."""
    with socket.socket(socket.AF_UNIX) as mta:
        mta.connect(str(path))
        mta.sendall(struct.pack(">IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF))
        answer = mta.recv(4096)
    length, _, _, actions, protocol = struct.unpack(">IcIII", answer[:17])
    return actions, protocol, answer[17 : 4 + length]


def test_it_asks_for_no_step_action_or_macro_that_it_does_not_use(site):
    """Postfix skips HELO, DATA, the end of the header, the body and unknown commands, and waits for no
    answer to CONNECT and header fields. That is a fifth of the cost of a message.
    """
    actions, protocol, macros = negotiate(site.postfix.sockets / "milter.sock")
    assert {name for name, bit in STEPS.items() if protocol & bit} == {"helo", "data", "eoh", "body", "unknown"}
    assert {name for name, bit in NO_REPLY.items() if protocol & bit} == {"header", "connect"}
    assert {name for name, bit in ACTIONS.items() if actions & bit} == set(ACTIONS)
    assert actions & ~sum(ACTIONS.values()) == 0
    assert asked_macros(macros) == {"mail": "{auth_authen}", "rcpt": "{rcpt_addr}", "end": "i"}


def test_it_asks_for_the_body_only_while_a_stream_sends_again(site):
    """A reload decides for the connections that begin after it."""
    place = site.postfix.sockets / "milter.sock"
    site.configure('name = "news"', 'name = "news"\nretry = { interval = "4h", count = 3 }')
    reload(site)
    assert not negotiate(place)[1] & STEPS["body"]
    site.configure('retry = { interval = "4h", count = 3 }\n', "")
    reload(site)
    assert negotiate(place)[1] & STEPS["body"]


def test_without_room_for_copies_mail_goes_out_all_the_same(site):
    """The disk is full, or the folder cannot be made: an error in the log; it will not be sent again."""
    (site.home / "spool").rmdir()
    (site.home / "spool").write_text("in the way")
    site.configure('name = "news"', 'name = "news"\nretry = { interval = "4h", count = 3 }')
    reload(site)
    assert arrived_version(site, "ok+full@example.net") == ["one"]
    site.services["milter"].wait_for_log("copy not written")


def asked_macros(octets):
    """The macros that the milter names for each step, by the step."""
    found = {}
    while octets:
        stage, rest = octets[:4], octets[4:]
        names, _, octets = rest.partition(b"\0")
        found[MACRO_STAGES[stage[3]]] = names.decode()
    return {stage: names for stage, names in found.items() if names}


def test_a_reload_changes_new_messages_and_drops_no_session(site):
    """A message keeps the configuration that it began with; the next one in the same session has the new."""
    with client(site) as session:
        session.mail("news@example.com")
        site.configure('"one"', '"two"')
        reload(site)
        session.rcpt("ok+during@example.net")
        assert session.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
        assert site.destination.wait_to("ok+during@example.net").headers("X-Version") == ["one"]
        session.sendmail("news@example.com", "ok+after@example.net", b"Subject: x\r\n\r\nx\r\n")
        assert site.destination.wait_to("ok+after@example.net").headers("X-Version") == ["two"]


def test_a_bad_reload_keeps_the_old_configuration(site):
    """The error names file and key in the log; mail goes on."""
    site.configure('envelope_from = "b-%', 'envelope_from = "b-%%')
    site.services["milter"].send_signal(signal.SIGUSR1)
    found = site.services["milter"].wait_for_log(r"configuration refused.*")
    assert f"{site.config}:stream[news].envelope_from: has 2 % signs" in found[0]
    assert arrived_version(site, "ok+still@example.net") == ["one"]


def test_sigterm_lets_the_message_under_way_finish(site):
    """It is stamped and recorded; only then the process ends, with status 0."""
    with client(site) as session:
        session.mail("news@example.com")
        session.rcpt("ok+last@example.net")
        site.services["milter"].send_signal(signal.SIGTERM)
        wait_until(lambda: not (site.postfix.sockets / "milter.sock").exists(), what="no socket any more")
        assert session.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    assert site.destination.wait_to("ok+last@example.net").sender.startswith("b-")
    assert site.services["milter"].wait() == 0
    assert site.json("address", "show", "ok+last@example.net")[0]["sends"] == 1


def test_sigterm_waits_only_shortly_for_a_client_that_is_silent_within_a_message(site):
    """However long `drain` is; the client is asked to try again, and no send is recorded."""
    site.configure('drain = "30s"', 'drain = "30m"')
    reload(site)
    with client(site) as session:
        session.mail("news@example.com")
        session.rcpt("ok+silent@example.net")
        site.services["milter"].send_signal(signal.SIGTERM)
        assert site.services["milter"].wait() == 0
        assert session.data(b"Subject: x\r\n\r\nx\r\n")[0] == 451
    assert "messages cut off at shutdown" in site.services["milter"].log()
    assert site.json("address", "show", "ok+silent@example.net") == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_either_signal_reloads(site, number):
    """SIGHUP, which stops libmilter by itself, is taken from it."""
    for version in ("two", "three", "four"):
        site.config.write_text(re.sub('X-Version = ".*?"', f'X-Version = "{version}"', site.config.read_text()))
        reload(site, number)
        assert arrived_version(site, f"ok+{version}@example.net") == [version]


@pytest.fixture
def locked(site):
    """The store as it is while another process sits on it."""
    with (site.home / "retour.db.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def impatient(site):
    site.configure('store_timeout = "10s"', 'store_timeout = "1s"')
    reload(site)


def test_while_the_store_is_down_clients_are_told_to_try_again(site, impatient, locked):
    """`on_store_failure = "tempfail"`: no mail without a record."""
    result = site.send("news@example.com", "ok+down@example.net")
    assert 451 in result.codes
    assert "try again later" in result.transcript
    assert not [one for one in site.destination.arrived if "ok+down@example.net" in one.recipients]


def test_while_the_store_is_down_the_milter_can_be_stopped(site, impatient, locked):
    """It says what it leaves undone, and ends."""
    site.send("news@example.com", "ok+stop@example.net")
    site.services["milter"].send_signal(signal.SIGTERM)
    assert site.services["milter"].wait() == 0
    assert "work not finished" in site.services["milter"].log()


def test_or_mail_passes_unstamped(site, impatient, locked):
    """`on_store_failure = "pass"`: mail on time rather than a record; the tag goes all the same."""
    site.configure('on_store_failure = "tempfail"', 'on_store_failure = "pass"')
    reload(site)
    assert site.send("news@example.com", "ok+pass@example.net", headers={"Retour-Tag": "c"}).accepted
    arrived = site.destination.wait_to("ok+pass@example.net")
    assert arrived.sender == "news@example.com"
    assert arrived.headers("X-Version") == arrived.headers("Retour-Tag") == []


def test_while_the_milter_is_away_nothing_leaves_unstamped(site):
    """milter_default_action = tempfail, as the example has it."""
    site.services["milter"].stop()
    assert 451 in site.send("news@example.com", "ok+away@example.net").codes
    with ExitStack() as stack:
        site.start("milter", stack)
        assert arrived_version(site, "ok+away@example.net") == ["one"]


@pytest.mark.parametrize("how", ["by a reload", "by itself"])
def test_a_path_that_was_removed_is_made_again(site, how):
    """Somebody cleaned up in the sockets' folder: a session that was open goes on, and new ones find the milter."""
    path = site.postfix.sockets / "milter.sock"
    with client(site) as session:
        session.mail("news@example.com")
        path.unlink()
        if how == "by a reload":
            site.services["milter"].send_signal(signal.SIGUSR1)
        wait_until(path.exists, what="the path")
        session.rcpt(f"ok+before-{how[-6:]}@example.net")
        assert session.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    wait_until(lambda: accepted(path), what="an answer of libmilter's")
    assert arrived_version(site, f"ok+after-{how[-6:]}@example.net") == ["one"]


def accepted(path):
    """Whether the milter answers there; until libmilter looks again, a connection waits in the queue of the socket."""
    return negotiate(path)[1]


def let_a_suppression_run_out(site, to):
    """Three days ago a bounce suppressed the address for a day: now one message may try."""
    now = system_clock() - 3 * DAY
    context = Context(site.config, clock=lambda: now)
    secret = context.ring.address_secret
    recorder = ReturnRecorder.of(context.config, context.ring, context.ledger, context.clock)

    def work(connection):
        new = NewSend("trying", "trying@example.com", (to,))
        route = Route("verp", "trying", sends.record(connection, secret, new, lambda: draw_id(now)))
        report = Report("bounce", (failed(to),))
        recorder.record(connection, ReturnedMessage(now, route, "b@b", "", b"", b"f" * 16, report))

    context.write(work)
    context.store.close()


def test_who_dies_before_the_answer_leaves_the_trial_to_the_same_message(shared):
    """The commit was done, and the client heard 451: its retry goes out, and another message waits."""
    to = "ok+cut@example.net"
    let_a_suppression_run_out(shared, to)
    first, second = {"Message-Id": "<first@example.com>"}, {"Message-Id": "<second@example.com>"}
    argv = [sys.executable, "-c", KILLED_BEFORE_THE_ANSWER, "milter", "--config", shared.config]
    with Child(argv, folder=shared.folder, name="killed") as killed:
        killed.wait_ready()
        cut = shared.send("trying@example.com", to, headers=first)
        assert killed.wait() == -signal.SIGKILL
    assert 451 in cut.codes and not cut.accepted
    assert [one["kind"] for one in shared.events("--address", to)].count("trial") == 1
    with ExitStack() as stack:
        shared.start("milter", stack)
        assert "one message tries" in shared.send("trying@example.com", to, headers=second).transcript
        assert shared.send("trying@example.com", to, headers=first).accepted
        assert shared.destination.wait_to(to).headers("Message-ID") == ["<first@example.com>"]
    (shared.folder / "milter.log").unlink()
