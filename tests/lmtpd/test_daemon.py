"""The LMTP daemon over its own sockets, without a mail server: dialogues."""

import asyncio
import fcntl
import os
import re
import signal
import socket
import sqlite3
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from lab.daemon import NO_STORMS, Daemon
from lab.effort import yardstick
from lab.ports import free_port
from lab.process import workspace
from lab.reports import hard_bounce
from lab.site import RETOUR
from lab.wait import PATIENCE, wait_until
from retour_lmtpd.socketmap import netstring
from retour_policy.messages.surplus import MAX_FACTS_A_DAY


@pytest.fixture(scope="module")
def daemon():
    """One for many tests; their reports come in a burst, which is not what they are about."""
    with workspace() as folder, Daemon(folder, [NO_STORMS]) as daemon:
        yield daemon


def talk(connection, dialogue, **names):
    """Hold a dialogue: lines to send (>) and patterns of the lines that must come back (<)."""
    file = connection.makefile("rb")
    for line in textwrap.dedent(dialogue).strip("\n").splitlines():
        who, text = line[:1], line[2:].format(**names)
        if who == ">":
            connection.sendall(text.encode("utf-8", "surrogateescape") + b"\r\n")
            continue
        came = file.readline().decode().rstrip("\r\n")
        assert re.fullmatch(text, came), f"expected {text!r}, came {came!r}"


def deliver(connection, recipients, message, sender=""):
    """One transaction; the replies to the recipients, and to the data."""
    file = connection.makefile("rb")

    def ask(line):
        connection.sendall(line + b"\r\n")
        return file.readline().decode().strip()

    file.readline()
    ask_many(connection, file, b"LHLO here", 5)
    ask(b"MAIL FROM:<" + sender.encode() + b">")
    taken = [ask(b"RCPT TO:<" + recipient.encode() + b">") for recipient in recipients]
    assert ask(b"DATA").startswith("354")
    connection.sendall(message + b"\r\n.\r\n")
    return taken, [file.readline().decode().strip() for reply in taken if reply.startswith("250")]


def ask_many(connection, file, line, count):
    connection.sendall(line + b"\r\n")
    return [file.readline().decode().strip() for _ in range(count)]


def report(to, number):
    message = hard_bounce(to, header=f"Message-ID: <{number}@mx.example.net>\n")
    return message.replace("\n", "\r\n").encode()


def test_a_dialogue_as_a_mail_server_has_it(daemon):
    """What is offered, an enhanced status code on every reply, one reply per recipient, then another message."""
    one, two = daemon.address("d1@example.net"), daemon.address("d2@example.net")
    with daemon.connect() as connection:
        talk(
            connection,
            """
            < 220 retour LMTP
            > LHLO mx.example.com
            < 250-retour
            < 250-PIPELINING
            < 250-ENHANCEDSTATUSCODES
            < 250-8BITMIME
            < 250 SMTPUTF8
            > MAIL FROM:<> BODY=8BITMIME SMTPUTF8 SIZE=99999999999
            < 250 2.1.0 OK
            > RCPT TO:<{one}> NOTIFY=NEVER
            < 250 2.1.5 OK
            > RCPT TO:<nobody@bounces.example.com>
            < 550 5.1.1 no such address here
            > RCPT TO:<{two}>
            < 250 2.1.5 OK
            > DATA
            < 354 .*
            > Subject: nothing
            >
            > ..
            > .
            < 250 2.0.0 recorded
            < 250 2.0.0 recorded
            > MAIL FROM:<x@example.net>
            < 250 2.1.0 OK
            > RSET
            < 250 2.0.0 OK
            > NOOP
            < 250 2.0.0 OK
            > QUIT
            < 221 2.0.0 Bye
            """,
            one=one,
            two=two,
        )


def test_commands_out_of_order_or_wrong_are_refused_and_the_session_goes_on(daemon):
    """Each with an enhanced status code, none with what went wrong inside."""
    with daemon.connect() as connection:
        talk(
            connection,
            """
            < 220 retour LMTP
            > EHLO mx
            < 500 5.5.0 Error: command "EHLO" not recognized
            > MAIL FROM:<>
            < 503 5.5.1 send LHLO first
            > LHLO
            < 501 5.5.4 Syntax: LHLO hostname
            > LHLO mx
            < 250-retour
            < 250-PIPELINING
            < 250-ENHANCEDSTATUSCODES
            < 250-8BITMIME
            < 250 SMTPUTF8
            > RCPT TO:<x@bounces.example.com>
            < 503 5.5.1 need MAIL command
            > MAIL FROM:<a b>
            < 501 5.5.4 Syntax: MAIL FROM:<address>
            > MAIL TO:<>
            < 501 5.5.4 Syntax: MAIL FROM:<address>
            > MAIL FROM:<>
            < 250 2.1.0 OK
            > MAIL FROM:<>
            < 503 5.5.1 nested MAIL command
            > DATA
            < 503 5.5.1 need RCPT command
            > RCPT FROM:<>
            < 501 5.5.4 Syntax: RCPT TO:<address>
            > QUIT
            < 221 2.0.0 Bye
            """,
        )


def test_a_reply_holds_printable_ascii_only(daemon):
    """Also where a command is said back: no line end and no escape sequence that its client put there."""
    with daemon.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(b"NON\rSEN\x1b[0mSE\r\n")
        assert file.readline().startswith(b"220")
        assert file.readline() == b'500 5.5.0 Error: command "NON?SEN?[0MSE" not recognized\r\n'


def test_tokens_are_verified_at_rcpt_and_the_reason_stays_in_the_log(daemon):
    """Unknown, forged and shapeless; folded case; roles; static senders in any case."""
    real = daemon.address("t@example.net")
    forged = real[:31] + ("a" if real[31] != "a" else "b") + real[32:]
    with daemon.connect() as connection:
        talk(
            connection,
            """
            < 220 retour LMTP
            > LHLO mx
            < 250-.*
            < 250-.*
            < 250-.*
            < 250-.*
            < 250 .*
            > MAIL FROM:<>
            < 250 2.1.0 OK
            > RCPT TO:<{upper}>
            < 250 2.1.5 OK
            > RCPT TO:<{forged}>
            < 550 5.7.1 this address does not take mail any more
            > RCPT TO:<b-short@bounces.example.com>
            < 550 5.1.1 no such address here
            > RCPT TO:<bob@example.net>
            < 550 5.1.1 no such address here
            > RCPT TO:<PostMaster@Bounces.Example.com>
            < 250 2.1.5 OK
            > RCPT TO:<abuse@bounces.example.com>
            < 250 2.1.5 OK
            > RCPT TO:<RETURNS@bounces.example.com>
            < 250 2.1.5 OK
            > QUIT
            < 221 2.0.0 Bye
            """,
            upper=real.upper(),
            forged=forged,
        )
    daemon.child.wait_for_log("recipient refused.*the signature does not match")


def test_the_same_report_delivered_twice_is_recorded_once(daemon):
    """As after a lost 250: the second time it has one more trace field."""
    to, before = daemon.address("twice@example.net"), len(daemon.events())
    for trace in (b"", b"Received: again\r\n"):
        with daemon.connect() as connection:
            assert deliver(connection, [to], trace + report("twice@example.net", 7))[1] == ["250 2.0.0 recorded"]
    assert len(daemon.events()) == before + 1


@pytest.mark.parametrize(("sender", "counted"), [("", True), ("shop@example.org", False)])
def test_an_empty_sender_speaks_for_a_report_in_words(daemon, sender, counted):
    """Whether a message that no known mail system signs is a report, its envelope tells; a person's mail is none."""
    to, before = daemon.address("worded@remote.example"), len(daemon.events())
    words = (
        b"From: <relay@mx.example.com>\r\nTo: <shop@example.org>\r\nSubject: A problem with a mail %d\r\n\r\n"
        b"<worded@remote.example>: 550 5.1.1 User unknown" % counted
    )
    with daemon.connect() as connection:
        assert deliver(connection, [to], words, sender)[1] == ["250 2.0.0 recorded"]
    assert [event["kind"] for event in daemon.events()[before:]] == (["bounce"] if counted else ["not-a-report"])


def test_pipelined_commands_are_answered_in_order(daemon):
    """All in one segment, the next message right behind the dot of the first."""
    to = daemon.address("piped@example.net")
    message = f"MAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: %d\r\n\r\nx\r\n.\r\n"
    with daemon.connect() as connection:
        connection.sendall(("LHLO mx\r\n" + message % 1 + message % 2 + "QUIT\r\n").encode())
        replies = connection.makefile("rb").read().decode().splitlines()
    codes = [line[:4] for line in replies[6:]]
    assert codes == ["250 ", "250 ", "354 ", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ten million empty lines", b"\r\n" * 10_000_000),
        ("NUL octets", b"Subject: a\0b\r\n\r\n" + b"\0" * 5_000 + report("h@example.net", 1)),
        ("no header", b"nothing but text"),
        ("nothing at all", b""),
        ("cut in the middle", report("h@example.net", 2)[:390]),
        ("one line of 5 MB", b"Subject: " + b"x" * 5_000_000),
        ("a header without an end", b"A: b\r\n" * 200_000),
        ("wrong octets", bytes(range(256)) * 100),
    ],
)
def test_hostile_reports_get_a_reply_per_recipient(daemon, name, message):
    """Within bounded memory and time, recorded as what can be known from the token, never an exception."""
    one, two = daemon.address("h1@example.net"), daemon.address("h2@example.net")
    before, began = len(daemon.events()), busy(daemon.child.pid)
    with daemon.connect() as connection:
        replies = deliver(connection, [one, two], message.replace(b"\r\n.\r\n", b"\r\n..\r\n"))[1]
    assert replies == ["250 2.0.0 recorded"] * 2
    kinds = [event["kind"] for event in daemon.events()[before:]]
    assert len(kinds) == 2, kinds
    assert busy(daemon.child.pid) - began < 2_000 * yardstick()
    assert resident(daemon.child.pid) < 300_000
    assert "exception" not in daemon.child.log()


def busy(pid):
    """Processor time so far, in seconds."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Peak resident memory in kB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def test_a_client_that_leaves_within_a_message_leaves_nothing(daemon):
    """No record, no error that ends the daemon; the mail server still has the message."""
    to, before = daemon.address("left@example.net"), len(daemon.events())
    with daemon.connect() as connection:
        connection.sendall(f"LHLO mx\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: x\r\n".encode())
        connection.recv(100)
    with daemon.connect() as connection:
        assert deliver(connection, [to], b"Subject: y")[1] == ["250 2.0.0 recorded"]
    assert len(daemon.events()) == before + 1


def test_tcp_works_for_whom_it_is_allowed(daemon):
    """Both listeners answer; an address outside `allow` gets 421 and nothing else."""
    with daemon.connect("127.0.0.1") as connection:
        assert connection.makefile("rb").readline() == b"220 retour LMTP\r\n"
    with daemon.connect("127.0.0.1", source=("127.0.0.5", 0)) as connection:
        assert connection.makefile("rb").read() == b"421 4.7.0 you may not connect here\r\n"


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("bounce {real}", b"OK retour"),
        ("bounce {upper}", b"OK retour"),
        ("bounce {xverp}", b"OK retour"),
        ("bounce {forged}", b"NOTFOUND "),
        ("bounce @bounces.example.com", b"NOTFOUND "),
        ("bounce bounces.example.com", b"NOTFOUND "),
        ("bounce postmaster@bounces.example.com", b"OK retour"),
        ("bounce returns@bounces.example.com", b"OK retour"),
        ("bounce \udcff@bounces.example.com", b"NOTFOUND "),
        ("bounce ", b"NOTFOUND "),
        ("other {real}", b"PERM no such map"),
        ("", b"PERM no such map"),
    ],
)
def test_the_look_up_knows_what_is_ours(daemon, key, answer):
    """By the signature alone."""
    real = daemon.address("l@example.net")
    forged = real[:31] + ("a" if real[31] != "a" else "b") + real[32:]
    xverp = real.replace("@", "+bob=example.net@")
    text = key.format(real=real, upper=real.upper(), xverp=xverp, forged=forged)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(daemon.lookup))
        connection.sendall(netstring(text.encode("utf-8", "surrogateescape")))
        assert connection.recv(4096) == netstring(answer)


def test_a_look_up_that_is_no_netstring_is_hung_up_on(daemon):
    """And the next client is answered."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(daemon.lookup))
        connection.sendall(b"GET / HTTP/1.0\r\n")
        assert connection.recv(4096) == b""


@pytest.mark.sqlite
def test_while_the_store_is_down_every_recipient_hears_451(folder):
    """And 250 afterwards, recorded once: nothing is lost, nothing counted twice."""
    with Daemon(folder, [('store_timeout = "60s"', 'store_timeout = "1s"')]) as daemon:
        one, two = daemon.address("s1@example.net"), daemon.address("s2@example.net")
        with (daemon.home / "retour.db.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with daemon.connect() as connection:
                assert (
                    deliver(connection, [one, two], report("s1@example.net", 1))[1] == ["451 4.3.0 try again later"] * 2
                )
        with daemon.connect() as connection:
            assert deliver(connection, [one, two], report("s1@example.net", 1))[1] == ["250 2.0.0 recorded"] * 2
        assert len(daemon.events()) == 2


@pytest.mark.sqlite
def test_a_full_or_broken_database_is_451_too(folder):
    """Whatever the store says, the report stays with the mail server."""
    with Daemon(folder) as daemon:
        to = daemon.address("b@example.net")
        with sqlite3.connect(daemon.home / "retour.db") as database:
            database.execute("DROP TABLE fact")
        with daemon.connect() as connection:
            taken, replies = deliver(connection, [to], report("b@example.net", 1))
        assert (taken, replies) == (["250 2.1.5 OK"], ["451 4.3.0 try again later"])


def test_connections_and_silence_are_bounded(folder):
    """One too many gets 421, and so does a silent client."""
    settings = [("max_connections = 200", "max_connections = 2"), ('idle_timeout = "5m"', 'idle_timeout = "3s"')]
    with Daemon(folder, settings) as daemon, daemon.connect() as one, daemon.connect() as two:
        first, second = one.makefile("rb"), two.makefile("rb")
        assert first.readline().startswith(b"220") and second.readline().startswith(b"220")
        with daemon.connect() as three:
            assert three.makefile("rb").read() == b"421 4.3.2 too many connections, try again later\r\n"
        assert first.read() == b"421 4.4.2 nothing came for too long\r\n"
        assert second.read().startswith(b"421")
        with daemon.connect() as four:
            assert four.makefile("rb").readline().startswith(b"220")


def test_a_message_that_takes_too_long_is_hung_up_on(folder):
    """A trickle of lines keeps a session open, but not without limit; the mail server still has the message."""
    with Daemon(folder, [('data_timeout = "10m"', 'data_timeout = "1s"')]) as daemon:
        to = daemon.address("trickle@example.net")
        with daemon.connect() as connection:
            connection.sendall(f"LHLO mx\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: x\r\n".encode())
            assert connection.makefile("rb").readlines()[-1] == b"421 4.4.2 the message took too long\r\n"
        assert daemon.events() == []


def test_sigterm_lets_a_message_under_way_finish(folder):
    """250 and a record, then the end, with status 0."""
    with Daemon(folder) as daemon:
        to = daemon.address("last@example.net")
        with daemon.connect() as connection:
            file = connection.makefile("rb")
            connection.sendall(f"LHLO mx\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: x\r\n".encode())
            while not file.readline().startswith(b"354"):
                pass
            daemon.child.send_signal(signal.SIGTERM)
            daemon.child.wait_for_log("lmtpd stopping")
            connection.sendall(b"\r\nx\r\n.\r\nQUIT\r\n")
            assert file.readline() == b"250 2.0.0 recorded\r\n"
        assert daemon.child.wait() == 0
        assert len(daemon.events()) == 1


def test_sigterm_hangs_up_on_idle_sessions(folder):
    """A mail server keeps connections open between messages; the end does not wait for them."""
    with Daemon(folder) as daemon, daemon.connect() as idle, daemon.connect() as after:
        to, files = daemon.address("idle@example.net"), [idle.makefile("rb"), after.makefile("rb")]
        after.sendall(f"LHLO mx\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: x\r\n".encode())
        assert files[0].readline().startswith(b"220")
        while not files[1].readline().startswith(b"354"):
            pass
        daemon.child.send_signal(signal.SIGTERM)
        assert files[0].read() == b"421 4.3.2 stopping, try again later\r\n"
        after.sendall(b"\r\nx\r\n.\r\n")
        assert files[1].read() == b"250 2.0.0 recorded\r\n421 4.3.2 stopping, try again later\r\n"
        assert daemon.child.wait() == 0
        assert "cut off" not in daemon.child.log()


@pytest.mark.parametrize("last", ["RCPT TO:<{to}>", "RCPT TO:<{to}>\r\nDATA\r\nSubject: half a mess"])
def test_sigterm_waits_only_shortly_for_a_client_that_is_silent_within_a_transaction(folder, last):
    """It hears 421; the mail server still has the message. Nothing is cut off."""
    with Daemon(folder) as daemon, daemon.connect() as silent:
        commands = f"LHLO mx\r\nMAIL FROM:<>\r\n{last}\r\n".format(to=daemon.address("silent@example.net"))
        silent.sendall(commands.encode())
        file = silent.makefile("rb")
        while not file.readline().startswith((b"250 2.1.5", b"354")):
            pass
        daemon.child.send_signal(signal.SIGTERM)
        assert file.read().endswith(b"421 4.3.2 stopping, try again later\r\n")
        assert daemon.child.wait() == 0
        assert "cut off" not in daemon.child.log()
        assert daemon.events() == []


@pytest.mark.sqlite
def test_sigterm_lets_a_commit_finish(folder):
    """The client is silent then, for it waits for its answer; it hears 250."""
    with Daemon(folder) as daemon, (daemon.home / "retour.db.lock").open("w") as lock, daemon.connect() as connection:
        to = daemon.address("committed@example.net")
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = connection.makefile("rb")
        message = report("committed@example.net", 1)
        connection.sendall(f"LHLO mx\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode() + message + b"\r\n.\r\n")
        while not file.readline().startswith(b"354"):
            pass
        daemon.child.send_signal(signal.SIGTERM)
        daemon.child.wait_for_log("lmtpd stopping")
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert file.read() == b"250 2.0.0 recorded\r\n421 4.3.2 stopping, try again later\r\n"
        assert daemon.child.wait() == 0
    assert len(daemon.events()) == 1


def test_the_paths_are_free_while_sessions_finish(folder):
    """What is started then does not lose its sockets to the one that ends."""
    with Daemon(folder) as daemon, daemon.connect() as under_way:
        under_way.sendall(b"LHLO mx\r\nMAIL FROM:<>\r\n")
        file = under_way.makefile("rb")
        ask_many(under_way, file, b"NOOP", 8)
        daemon.child.send_signal(signal.SIGTERM)
        wait_until(lambda: not daemon.socket.exists() and not daemon.lookup.exists(), what="free paths")
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(daemon.socket))
            under_way.close()
            file.close()
            assert daemon.child.wait() == 0
            assert daemon.socket.exists()


def test_a_socket_that_cannot_be_opened_leaves_no_other_behind(folder):
    """The first one's path is removed again, else it would be in the way."""
    daemon = Daemon(folder)
    daemon.lookup.write_text("in the way")
    argv = [*RETOUR, "lmtpd", "--config", daemon.config]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ended.returncode, "lmtpd.lookup" in ended.stderr) == (78, True)
    assert not daemon.socket.exists()


@pytest.mark.sqlite
def test_sessions_go_on_during_a_reload(folder):
    """It waits for the store; the sessions do not."""
    with Daemon(folder) as daemon, daemon.connect() as connection, (daemon.home / "retour.db.lock").open("w") as lock:
        file, longest = connection.makefile("rb"), 0.0
        file.readline()
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon.child.send_signal(signal.SIGUSR1)
        asked = time.monotonic()
        while "configuration reloaded" not in daemon.child.log():
            began = time.monotonic()
            ask_many(connection, file, b"NOOP", 1)
            longest = max(longest, time.monotonic() - began)
        assert longest < (time.monotonic() - asked) / 2  # or that session waited as well


def test_who_does_not_read_the_answers_does_not_keep_the_place(folder):
    """Nor our memory: after the silence that is allowed there is room for another client."""
    settings = [("max_connections = 200", "max_connections = 1"), ('idle_timeout = "5m"', 'idle_timeout = "1s"')]
    with Daemon(folder, settings) as daemon:
        for path, request in ((daemon.socket, b"NOOP\r\n"), (daemon.lookup, netstring(b"other x"))):
            with connected(path) as deaf:
                before = flooded(deaf, request)
                wait_until(lambda path=path: answers(path), what="room for another client")
                assert before < 5_000_000
        assert resident(daemon.child.pid) < 200_000


def connected(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    return connection


def flooded(connection, request):
    """How many octets of requests are taken from a client that reads no answer, within half a second of quiet."""
    connection.settimeout(0.5)
    sent = 0
    try:
        while sent < 50_000_000:
            sent += connection.send(request * 1_000)
    except TimeoutError:
        pass
    return sent


def answers(path):
    """Whether a new client there gets an answer that is no refusal."""
    with connected(path) as client:
        try:
            client.sendall(netstring(b"bounce x") if path.name == "lookup.sock" else b"")
            return client.recv(100)[:3] not in (b"", b"421")
        except OSError:
            return False


def test_a_client_that_only_looks_leaves_its_place(folder):
    """As a monitor does each second: it connects, and is gone before the greeting."""
    with Daemon(folder, [("max_connections = 200", "max_connections = 3")]) as daemon:
        for _ in range(20):
            with daemon.connect():
                pass
        wait_until(lambda: answers(daemon.socket), what="room for another client")


@pytest.mark.parametrize(
    "sender", ['"a>b"@example.com', '"a b\\"c"@example.com', "ü@example.com", "\udcff@x", "x" * 2000]
)
def test_a_sender_may_be_anything(daemon, sender):
    """What came back is for the recipient; a sender that looks odd must not cost it."""
    with daemon.connect() as connection:
        file = connection.makefile("rb")
        file.readline()
        ask_many(connection, file, b"LHLO mx", 5)
        assert ask_many(connection, file, f"MAIL FROM:<{sender}>".encode("utf-8", "surrogateescape"), 1) == [
            "250 2.1.0 OK"
        ]


def test_a_client_that_ends_within_a_line_costs_nothing(daemon):
    """Its half line is not a command, not an internal error, and no work."""
    with daemon.connect() as connection:
        connection.recv(100)
        connection.sendall(b"LHLO mx\r\nNOO")
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read().count(b"\r\n") == 5
    assert "LMTP session failed" not in daemon.child.log()


def test_a_look_up_over_tcp_is_for_whom_it_is_allowed(folder):
    """It tells which addresses are ours, and a connection costs memory."""
    port = free_port()
    with Daemon(folder, [(f"unix:{folder}/r/sockets/lookup.sock", f"inet:{port}@127.0.0.1")]):
        for source, answer in (("127.0.0.1", netstring(b"PERM no such map")), ("127.0.0.5", b"")):
            with socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(source, 0)) as connection:
                try:
                    connection.sendall(netstring(b"other x"))
                    came = connection.recv(100)
                except ConnectionResetError:
                    came = b""
                assert came == answer


def test_a_socket_from_systemd_is_taken(folder):
    """Handed over by number and name, as systemd.socket(5) has it."""
    daemon = Daemon(folder, [(f'"unix:{folder}/r/sockets/lmtp.sock"', '"fd:lmtp"')])
    path = folder / "handed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        argv = ["lmtpd", "--config", str(daemon.config)]
        # The service must be the process that LISTEN_PID names, so the shell becomes it.
        script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=lmtp exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *RETOUR, *argv], pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL
        )
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(path))
            assert connection.makefile("rb").readline() == b"220 retour LMTP\r\n"
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert path.exists()


def test_a_thousand_reports_at_once_are_all_recorded(daemon):
    """Many sessions side by side share commits, and none is lost."""
    addresses = [daemon.address(f"many{n}@example.net") for n in range(1000 // MAX_FACTS_A_DAY)]
    before = len(daemon.events())

    async def session(number):
        to = addresses[number % len(addresses)]
        reader, writer = await asyncio.open_unix_connection(str(daemon.socket))
        for count in range(10):
            writer.write(f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode())
            writer.write(f"Subject: {number} {count}\r\n\r\nx\r\n.\r\n".encode())
            while not (await reader.readline()).startswith(b"250 2.0.0 recorded"):
                pass
        writer.close()

    async def all_sessions():
        await asyncio.gather(*(session(number) for number in range(100)))

    asyncio.run(all_sessions())
    assert len(daemon.events()) == before + 1000
