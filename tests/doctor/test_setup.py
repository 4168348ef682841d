"""`retour setup`: shows what to add, adds it to a real Postfix that then works, and takes it back octet for octet."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.configurations import STREAM, write_postfix
from lab.process import workspace
from lab.site import Site, retour
from retour_cli.commands import setup as setup_command
from retour_cli.main import main
from retour_cli.postfix import change
from retour_cli.postfix.postconf import PostfixError, Programs, read
from retour_cli.postfix.recipe import Edit

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change and run a Postfix")
OURS = ("smtpd_milters", "non_smtpd_milters", "milter_default_action", "relay_domains", "relay_recipient_maps")
A = "anna@example.net"


class Bare(Site):
    """A site whose Postfix knows nothing of Retour yet, and has milters and relay domains of its own."""

    def strip(self) -> None:
        """Take out what the lab has put in."""
        destinations = f"texthash:{self.postfix.config}/destinations"
        self.postfix.run("postconf", "-X", *OURS)
        self.postfix.run("postconf", "-MX", "retour/unix")
        self.postfix.run("postconf", "-e", f"transport_maps={destinations}", "relay_domains=backup.example.org")
        self.postfix.run("postfix", "reload")

    @property
    def files(self) -> list[bytes]:
        return [(self.postfix.config / name).read_bytes() for name in change.FILES]

    def setup(self, *words: str, status: int = 0) -> str:
        done = self.retour("setup", "--postfix", self.postfix.config, *words)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def sender_of_next(self) -> str:
        """The envelope sender that the next message arrives with."""
        before = len(self.destination.arrived)
        assert self.send("news@example.com", A).accepted
        return self.destination.wait(before + 1)[-1].sender


@pytest.fixture(scope="module")
def site() -> Iterator[Bare]:
    with workspace() as folder, Bare(folder, STREAM) as site:
        site.strip()
        yield site


def test_it_is_applied_and_taken_back(site: Bare) -> None:
    """Shown without a change; applied, mail is stamped and forgeries refused; reverted, all is as it was."""
    before = site.files
    said = site.setup()
    assert "Nothing was changed" in said and site.files == before
    assert "bounces.example.com.  MX   10 mx.example.com." in said
    assert "    smtpd_milters = unix:retour/milter.sock\n" in said

    assert "Written, checked and reloaded" in site.setup("--apply")
    assert site.sender_of_next().endswith("@bounces.example.com")
    forged = site.send_from_outside("<>", "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounces.example.com")
    assert forged.reply_to("RCPT TO").code == 550
    assert site.send_from_outside("<>", "x@backup.example.org", extra=["--quit-after", "RCPT"]).accepted
    assert "Nothing to write" in site.setup("--apply")

    assert "as it was before" in site.setup("--revert")
    assert site.files == before and site.sender_of_next() == "news@example.com"
    assert "nothing was written" in site.setup("--revert", status=1)


def test_what_somebody_changed_since_stays(site: Bare) -> None:
    """Only our part is taken out then, and what was changed is named."""
    before = read(Programs(site.postfix.config)).main
    site.setup("--apply")
    site.postfix.run("postconf", "-e", "smtpd_milters=unix:retour/milter.sock, unix:theirs", "mail_name=Theirs")
    assert "smtpd_milters was changed since" in site.setup("--revert")
    now = dict(read(Programs(site.postfix.config)).main)
    assert (now.pop("smtpd_milters"), now.pop("mail_name")) == ("unix:theirs", "Theirs")
    assert now == before and read(Programs(site.postfix.config)).service("retour") is None
    site.postfix.run("postconf", "-X", "smtpd_milters", "mail_name")


def test_what_was_changed_between_two_applies_stays(site: Bare) -> None:
    """And both are taken back."""
    before = dict(read(Programs(site.postfix.config)).main)
    programs = Programs(site.postfix.config)
    change.apply(programs, read(programs), [Edit("main", "mail_name", None, "First", "")])
    site.postfix.run("postconf", "-e", "in_flow_delay=1")
    change.apply(programs, read(programs), [Edit("main", "syslog_name", None, "second", "")])
    assert change.revert(programs, site.postfix.config) == []
    now = dict(read(Programs(site.postfix.config)).main)
    assert now.pop("in_flow_delay") == "1" and before.pop("in_flow_delay") == "0" and now == before
    site.postfix.run("postconf", "-e", "in_flow_delay=0")


def test_what_fails_half_way_changes_nothing(site: Bare) -> None:
    """Postfix refuses the second edit: both files are as they were."""
    before, programs = site.files, Programs(site.postfix.config)
    edits = [Edit("main", "mail_name", None, "Half", ""), Edit("service", "bad/unix", None, "bad", "")]
    with pytest.raises(PostfixError):
        change.apply(programs, read(programs), edits)
    assert site.files == before


def test_one_that_was_killed_half_way_is_put_back(site: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is written onto half of it; --revert has what was there before."""
    before, programs = site.files, Programs(site.postfix.config)
    with monkeypatch.context() as patch:
        patch.setattr(change, "_put_back", lambda *_: None)
        patch.setattr(change.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(PostfixError):
            change.apply(programs, read(programs), [Edit("main", "mail_name", None, "Half", ""),
                                                    Edit("service", "bad/unix", None, "bad", "")])  # fmt: skip
    assert site.files != before
    assert "cut off" in site.setup("--apply", status=1) and site.files != before
    site.setup("--revert")
    assert site.files == before and not (site.postfix.config / change.FOLDER).exists()


def test_a_second_apply_goes_back_to_before_the_first(site: Bare) -> None:
    """A stream was added in between; the backup is that of the beginning."""
    before = site.files
    site.setup("--apply")
    site.configure("b%@bounces.example.com", "b%@b.example.com")
    assert "systemctl reload" in site.setup("--apply", status=1)
    site.services["serve"].send_signal(signal.SIGHUP)
    site.services["serve"].wait_for_log(r"(?s)(configuration reloaded.*){3}")
    assert "b.example.com=retour" in site.setup("--apply")
    site.setup("--revert")
    assert site.files == before


def test_a_pattern_among_mailboxes(site: Bare) -> None:
    """On a real Postfix: a genuine token is taken, a made-up one refused, and people's mail goes on as before."""
    site.postfix.run("postconf", "-e", "mydestination=example.com", "local_recipient_maps=inline:{joe=x}")
    site.configure("b%@b.example.com", "news-%@example.com")
    site.configure("mailbox_domains = []", 'mailbox_domains = ["example.com"]')
    site.configure('postmaster = "postmaster@example.net"', 'postmaster = "joe@example.com"')
    site.services["serve"].send_signal(signal.SIGHUP)
    site.services["serve"].wait_for_log(r"(?s)(configuration reloaded.*){6}")
    before = site.files
    site.setup("--apply")
    sender = site.sender_of_next()
    assert sender.startswith("news-") and sender.endswith("@example.com")
    forged = sender[:30] + ("a" if sender[30] != "a" else "b") + sender[31:]
    for to, code in ((sender, 250), (forged, 550), ("joe@example.com", 250), ("nobody@example.com", 550)):
        tried = site.send_from_outside("<>", to, extra=["--quit-after", "RCPT"])
        assert tried.reply_to("RCPT TO").code == code, tried.transcript
    site.setup("--revert")
    assert site.files == before


def new(folder: Path, *words: str) -> tuple[int, str]:
    """Setup where there is no configuration yet."""
    write_postfix(folder / "etc", {"queue_directory": str(folder / "home")})
    done = retour("setup", "--config", folder / "home/retour.toml", "--postfix", folder / "etc", *words)
    return done.returncode, done.stdout + done.stderr


def test_without_a_configuration_it_writes_one_and_waits_for_the_services(folder: Path) -> None:
    """First shown; then written, and Postfix is not touched while nobody answers: all mail would wait."""
    status, said = new(folder, "--domain", "bounces.example.com", "--sender", "shop@example.com")
    assert status == 0 and not (folder / "home").exists() and "Nothing was changed" in said
    status, said = new(folder, "--domain", "bounces.example.com", "--sender", "shop@example.com", "--apply")
    assert status == 1 and "systemctl enable --now retour" in said
    assert 'sender = ["shop@example.com"]' in (folder / "home/retour.toml").read_text()
    assert "smtpd_milters" not in (folder / "etc/main.cf").read_text()
    status, said = new(folder, "--domain", "other.example.com")
    assert status == 1 and "is there already" in said


def test_a_domain_with_mailboxes_is_refused(folder: Path) -> None:
    """As by `retour init`; Postfix's own domains are known."""
    status, said = new(folder, "--domain", "mx.example.com")
    assert status == 1 and "Postfix has it" not in said.split(":")[0] and "--no-mailboxes" in said
    assert new(folder)[0] == 1 and "--domain" in new(folder)[1]


def test_it_asks_what_it_must_know(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: the domain, twice where it seems to have mailboxes, the first sender and postmaster."""
    monkeypatch.setattr(setup_command, "_somebody_is_there", lambda: True)
    write_postfix(folder / "etc", {"queue_directory": str(folder / "home")})
    words = ["setup", "--config", str(folder / "home/retour.toml"), "--postfix", str(folder / "etc")]
    result = CliRunner().invoke(main, words, input="example.com\ny\nnews@example.com\njoe@example.com\n")
    assert "Has anybody a mailbox in it?" in result.output and result.exit_code == 0, result.output
    assert "news-[a-z2-7]{30}" in result.output and "Nothing was changed" in result.output
    result = CliRunner().invoke(main, words, input="\n\n\n")
    assert "bounces.example.com.  MX   10 mx.example.com." in result.output and result.exit_code == 0, result.output


def test_json_has_what_is_to_be_written(folder: Path) -> None:
    """One object a line: records, and edits with what was there before."""
    status, said = new(folder, "--domain", "bounces.example.com", "--json")
    found = [json.loads(line) for line in said.splitlines()]
    assert status == 0 and found[0]["dns"].startswith("bounces.example.com.  MX")
    (edit,) = [one for one in found if one.get("name") == "relay_domains"]
    assert (edit["file"], edit["before"], edit["after"]) == ("main.cf", None, "bounces.example.com")
