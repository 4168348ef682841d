"""The private Postfix keeps what the lab promises about it; Postfix and swaks are real, Retour is absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.destination import Destination
from lab.postfix import PrivatePostfix
from lab.process import ChildFailed, members, workspace
from lab.swaks import swaks
from lab.wait import wait_until

TOOLS = Path(__file__).parents[2] / "tools"

NO_MILTER = {"smtpd_milters": "", "non_smtpd_milters": ""}


def test_mail_from_this_host_is_relayed_to_the_destination(postfix: PrivatePostfix, destination: Destination) -> None:
    """What swaks sends from 127.0.0.1 arrives with its envelope sender and headers."""
    result = swaks(
        server=postfix.smtp_server,
        to="ok@example.net",
        from_="me@example.com",
        headers={"X-Answer": "42"},
    )
    assert result.accepted
    (arrived,) = destination.wait(1)
    assert (arrived.sender, arrived.recipients) == ("me@example.com", ("ok@example.net",))
    assert arrived.headers("x-answer") == ["42"]
    postfix.wait_queue_empty()


def test_outsiders_may_write_to_us_but_not_through_us(postfix: PrivatePostfix, destination: Destination) -> None:
    """A client at 127.0.0.3 reaches the inbound domain and is refused for any other."""
    outside = {"server": postfix.smtp_server, "from_": "you@example.org", "local_interface": "127.0.0.3"}
    relayed = swaks(to="ok@example.net", **outside)
    assert relayed.reply_to("RCPT").code == 554
    assert swaks(to="ok@example.com", **outside).accepted
    assert destination.wait(1)[0].recipients == ("ok@example.com",)


def test_the_bounce_domain_waits_while_retour_is_down(postfix: PrivatePostfix) -> None:
    """Without Retour, outsiders get 451 for the bounce domain, and a local bounce stays in the queue."""
    outside = swaks(server=postfix.smtp_server, to="b-x@bounces.example.com", from_="<>", local_interface="127.0.0.3")
    assert outside.reply_to("RCPT").code == 451
    swaks(server=postfix.smtp_server, to="gone@example.net", from_="b-x@bounces.example.com")
    postfix.wait_for_log(r"retour/lmtp.*to=<b-x@bounces\.example\.com>.*status=deferred")
    postfix.wait_deferred(1)
    (waiting,) = postfix.queue()
    assert waiting["recipients"][0]["address"] == "b-x@bounces.example.com"


def test_submission_relays_for_logins_only(postfix: PrivatePostfix, destination: Destination) -> None:
    """The submission port wants a login that is right, even from this host."""
    mail = {"server": postfix.submission_server, "to": "ok@example.net", "from_": "me@example.com"}
    assert swaks(**mail).reply_to("RCPT").code == 554
    assert 535 in swaks(login=("news", "wrong"), **mail).codes
    assert swaks(login=("news", "secret"), **mail).accepted
    assert destination.wait(1)[0].sender == "me@example.com"
    postfix.wait_for_log("sasl_username=news")


def test_sendmail_hands_over_mail(postfix: PrivatePostfix, destination: Destination) -> None:
    """A message given to sendmail(1) arrives, and the null sender can be given too."""
    postfix.sendmail(b"Subject: one\n\n.\nthe dot above is text\n", to=["ok@example.net"], from_="me@example.com")
    arrived = destination.wait(1)[0]
    assert arrived.sender == "me@example.com"
    assert b"the dot above is text" in arrived.content
    postfix.sendmail(b"Subject: two\n\nx\n", to=["ok@example.net"], from_="")
    assert destination.wait(2)[1].sender == ""


def test_deferred_mail_is_tried_again_on_flush(postfix: PrivatePostfix, destination: Destination) -> None:
    """A 451 keeps the message in the queue; after flush() it is delivered if the answer has changed."""
    swaks(server=postfix.smtp_server, to="softly@example.net", from_="me@example.com")
    postfix.wait_deferred(1)
    destination.script.pop("softly")
    postfix.flush()
    destination.wait_to("softly@example.net")
    postfix.wait_queue_empty()


def test_nothing_leaves_for_the_world(postfix: PrivatePostfix) -> None:
    """A domain without a destination is refused over SMTP, and mail for it from sendmail(1) bounces."""
    result = swaks(server=postfix.smtp_server, to="somebody@example.edu", from_="<>")
    assert result.reply_to("RCPT").code == 550
    postfix.sendmail(b"Subject: x\n\nx\n", to=["somebody@example.edu"], from_="")
    postfix.wait_for_log(r"to=<somebody@example\.edu>.*status=bounced")


def test_instances_run_side_by_side(folder: Path) -> None:
    """Two instances at once have ports and queues of their own."""
    with (
        PrivatePostfix(folder / "one", main=NO_MILTER, destinations={"a.example": "discard:"}) as one,
        PrivatePostfix(folder / "two", main=NO_MILTER, hosts=["127.0.0.2"]) as two,
    ):
        swaks(server=one.smtp_server, to="x@a.example", from_="me@example.com")
        one.wait_for_log(r"to=<x@a\.example>.*status=sent")
        assert two.smtp_server.startswith("127.0.0.2:")
        assert swaks(server=two.smtp_server, to="x@a.example", from_="<>").reply_to("EHLO").code == 250


def test_nothing_is_left_running(folder: Path) -> None:
    """After the context no process of the instance lives, not even after an error inside it."""
    server = PrivatePostfix(folder / "postfix", main=NO_MILTER)
    with pytest.raises(ZeroDivisionError), server:
        group = int((server.queue_directory / "pid/master.pid").read_text())
        assert members(group)
        raise ZeroDivisionError
    assert not members(group)


ABANDON = """
import os, signal, sys
from pathlib import Path
from lab.postfix import PrivatePostfix
from lab.process import Child
folder = Path(sys.argv[1])
server = PrivatePostfix(folder / "postfix", main={"smtpd_milters": "", "non_smtpd_milters": ""})
with server, Child(["sleep", "600"], folder=folder, name="sleep") as child:
    print(int((server.queue_directory / "pid/master.pid").read_text()), child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_running_when_the_test_itself_is_killed(folder: Path) -> None:
    """Postfix and children end soon after a test run that was killed with kill -9."""
    done = subprocess.run(
        [sys.executable, "-c", ABANDON, folder],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    groups = [int(word) for word in done.stdout.split()]
    assert len(groups) == 2
    wait_until(lambda: not any(map(members, groups)), what=f"the end of {groups}")


def test_extra_settings_lines_and_options_win(folder: Path) -> None:
    """`main`, `master` and the smtpd options are in force in the running instance."""
    with PrivatePostfix(
        folder / "postfix",
        main=NO_MILTER | {"smtpd_banner": "from main"},
        master="extra unix - - n - - discard\n",
        smtpd_options={"smtpd_banner": "from options with spaces"},
        destinations={"a.example": "extra:"},
    ) as server:
        result = swaks(server=server.smtp_server, to="x@a.example", from_="me@example.com")
        assert result.replies[0].text == "from options with spaces"
        assert server.run("postconf", "-h", "smtpd_banner") == "from main\n"
        server.wait_for_log(r"to=<x@a\.example>.*status=sent")


def test_what_postfix_says_is_told_when_it_does_not_start(folder: Path) -> None:
    """A broken configuration raises an error that carries Postfix's own words."""
    with (
        pytest.raises(ChildFailed, match="no local interface found"),
        PrivatePostfix(folder / "postfix", main={"inet_interfaces": "192.0.2.1"}),
    ):
        pass


def test_a_folder_that_postfix_cannot_pass_is_refused(tmp_path: Path) -> None:
    """pytest's private temporary folder gets a clear error instead of a Postfix that hangs."""
    tmp_path.chmod(0o700)
    with pytest.raises(PermissionError, match="may not pass"), PrivatePostfix(tmp_path / "postfix"):
        pass


def test_the_workspace_is_gone_afterwards() -> None:
    """The workspace may be passed by others and is removed with all that is in it."""
    with workspace() as path:
        assert path.stat().st_mode & 0o777 == 0o755
        (path / "file").write_text("x")
    assert not path.exists()


def test_what_speaks_with_retour_is_chrooted_as_on_debian(postfix: PrivatePostfix) -> None:
    """smtpd, cleanup and the transport for reports see the queue directory as their root."""
    swaks(server=postfix.smtp_server, to="gone@example.net", from_="b-x@bounces.example.com")
    postfix.wait_for_log(r"retour/lmtp.*status=deferred")
    for program in ("smtpd", "cleanup", "retour/lmtp"):
        pid = postfix.wait_for_log(rf"{program}\[(\d+)\]")[1]
        assert Path(f"/proc/{pid}/root").readlink() == postfix.queue_directory, program


def test_the_instance_leaves_the_system_postfix_alone(folder: Path) -> None:
    """Nothing under /etc/postfix changes while an instance runs, and all its folders are its own."""
    before = state(Path("/etc/postfix"))
    with PrivatePostfix(folder / "postfix", main=NO_MILTER, destinations={"a.example": "discard:"}) as server:
        server.sendmail(b"Subject: x\n\nx\n", to=["x@a.example"], from_="")
        server.wait_for_log("status=sent")
        for name in ("config_directory", "queue_directory", "data_directory", "maillog_file"):
            assert server.run("postconf", "-h", name).startswith(str(folder)), name
    assert state(Path("/etc/postfix")) == before


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file below a folder."""
    return {path: (path.lstat().st_size, path.lstat().st_ctime_ns) for path in folder.rglob("*")}
