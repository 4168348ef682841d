"""`retour init`: makes a place that works at once, overwrites nothing, and leaves nothing half done."""

from __future__ import annotations

import grp
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.forked import forked
from lab.site import retour
from lab.wait import PATIENCE
from retour_cli.commands import init as init_module
from retour_cli.main import main
from retour_policy.config import load
from retour_policy.store.database import open_store
from retour_policy.tokens import keyring

STEPS = {"open", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.remove", "os.rename", "os.rmdir", "sqlite3.connect"}


def init(folder: Path, *words: str, domain: str = "bounces.example.com") -> Result:
    result = CliRunner().invoke(main, ["init", "--dir", str(folder), "--domain", domain, *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_init_made_is_good_at_once(tmp_path: Path) -> None:
    """`retour check` finds nothing wrong with it, and the last line says what to do next."""
    result = init(tmp_path / "retour")
    assert result.exit_code == 0 and "retour check" in result.stdout.splitlines()[-1]
    done = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "retour/retour.toml")])
    assert done.exit_code == 0 and done.stdout.startswith(f"{tmp_path}/retour/retour.toml: good\n")
    config = load.load(tmp_path / "retour/retour.toml")
    assert config.bounce_domains == {"bounces.example.com"}
    assert config.lmtpd.postmaster == "postmaster@example.com"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_modes_are_the_same_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The key ring is its owner's, configuration and database nobody else's, the sockets Postfix's to enter."""
    before = os.umask(umask)
    try:
        init(tmp_path / "above/retour")
        CliRunner().invoke(
            main, ["suppressions", "add", "a@b.example", "--config", str(tmp_path / "above/retour/retour.toml")]
        )
    finally:
        os.umask(before)
    made = tmp_path / "above/retour"
    assert {path.name: mode(path) for path in (made.parent, made, *made.iterdir())} == {
        "above": 0o755, "retour": 0o755, "retour.toml": 0o640, "keys.toml": 0o600, "retour.db": 0o640,
        "retour.db.lock": 0o600, "retour.db-wal": 0o640, "retour.db-shm": 0o640, "spool": 0o700,
        "sockets": 0o2750 if os.geteuid() == 0 else mode(made / "sockets"),
    }  # fmt: skip
    if os.geteuid() == 0:
        assert (made / "sockets").stat().st_gid == grp.getgrnam("postfix").gr_gid


def test_the_systems_places() -> None:
    """For /etc/retour the database and the sockets lie where a Debian system has them."""
    places = init_module.Places.below(Path("/etc/retour"))
    assert [str(path) for path in (*places.files(), places.sockets, places.spool)] == [
        "/etc/retour/retour.toml", "/etc/retour/keys.toml", "/var/lib/retour/retour.db", "/var/spool/postfix/retour",
        "/var/lib/retour/spool",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["retour.toml", "keys.toml", "retour.db"])
@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_what_is_there_is_not_touched(tmp_path: Path, name: str, kind: str) -> None:
    """Any of the three, in whatever form: exit status 1, its name, and the folder as it was."""
    path = tmp_path / name
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/nowhere/at/all")
    before = sorted(tmp_path.iterdir()), contents(tmp_path)
    result = init(tmp_path)
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr == f"retour: {path}: already exists; init overwrites nothing\n"
    assert (sorted(tmp_path.iterdir()), contents(tmp_path)) == before


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_what_another_database_left_is_occupied(tmp_path: Path, end: str) -> None:
    """SQLite would write the old log into the new database: named, and all stays as it was."""
    (tmp_path / f"retour.db{end}").write_bytes(b"old")
    before = contents(tmp_path)
    result = init(tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"retour: {tmp_path}/retour.db{end}: already exists; init overwrites nothing\n"
    assert contents(tmp_path) == before


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    """Run twice by mistake: the keys of the first run stay."""
    init(tmp_path)
    before = contents(tmp_path)
    result = init(tmp_path, domain="other.example.com")
    assert result.exit_code == 1 and result.stderr.count("already exists") == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "domain", "said"),
    [
        ([], "nonsense", "'nonsense' is not a domain; for example bounces.example.com"),
        ([], "a b.example", "is not a domain"),
        ([], 'x".example', "is not a domain"),
        ([], "-a.example", "is not a domain"),
        (["--postmaster", "joe"], "b.example.com", "lmtpd.postmaster: is not an e-mail address"),
        (["--postmaster", "joe@b.example.com"], "b.example.com", "lmtpd.postmaster: is in a bounce domain"),
        (["--postmaster", 'joe"\nx = "y@z'], "b.example.com", "lmtpd.postmaster: is not an e-mail address"),
        ([], "x" * 60 + ".example.com", None),
        ([], ".".join(["x" * 60] * 4) + ".example", "local part|domain"),
    ],
)
def test_a_bad_answer_writes_nothing(tmp_path: Path, words: list[str], domain: str, said: str | None) -> None:
    """What would make a bad configuration is refused before the first file is written."""
    result = init(tmp_path / "retour", *words, domain=domain)
    if result.exit_code:
        assert not (tmp_path / "retour").exists(), result.stderr
    if said is None:
        assert result.exit_code == 0
    elif "|" not in said:
        assert result.exit_code in (1, 78) and said in result.stderr


@pytest.mark.parametrize(
    ("domain", "postmaster"),
    [("example.com", "postmaster"), ("b.example.com", "postmaster@example.com"), ("Bücher.example", "postmaster")],
)
def test_postmaster_is_never_in_the_bounce_domain(tmp_path: Path, domain: str, postmaster: str) -> None:
    """A bounce domain without one above it: postmaster of the relay, and a warning at check."""
    assert init(tmp_path, "--no-mailboxes", domain=domain).exit_code == 0
    assert load.load(tmp_path / "retour.toml").lmtpd.postmaster == postmaster
    warned = "lmtpd.postmaster" in CliRunner().invoke(main, ["check", "--config", str(tmp_path / "retour.toml")]).stderr
    assert warned == (postmaster == "postmaster")


def test_a_domain_with_mailboxes_is_refused_until_it_is_said_what_it_is(tmp_path: Path) -> None:
    """All other mail to example.com would be refused; what to do instead is said, and nothing is written."""
    for domain, words, why in (
        ("example.com", [], "it is no subdomain"),
        ("mail.example.com", ["--sender", "ceo@mail.example.com"], "ceo@mail.example.com lies in it"),
    ):
        result = init(tmp_path, *words, domain=domain)
        assert result.exit_code == 1 and not any(tmp_path.iterdir())
        assert f"{domain} looks like a domain with mailboxes: {why}." in result.stderr
        assert f"--domain bounces.{domain}" in result.stderr and "--mailboxes" in result.stderr


def test_a_domain_that_postfix_delivers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the host's own Postfix: a subdomain with mailboxes is known too."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/main.cf").write_text("mydestination = localhost, mail.example.com\n")
    (tmp_path / "etc/master.cf").touch()
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path / "etc"))
    result = init(tmp_path / "retour", domain="mail.example.com")
    assert result.exit_code == 1 and "Postfix has it in mydestination" in result.stderr
    assert init(tmp_path / "retour", domain="bounces.example.com").exit_code == 0


def test_a_pattern_beside_mailboxes(tmp_path: Path) -> None:
    """Said to have mailboxes, of the domain only what carries a token is taken; postmaster stays in it."""
    assert init(tmp_path, "--mailboxes", domain="example.com").exit_code == 0
    config = load.load(tmp_path / "retour.toml")
    assert (config.bounce_domains, config.pattern_domains) == (frozenset(), {"example.com"})
    assert config.stream[0].envelope_from == "news-%@example.com"
    assert config.lmtpd.postmaster == "postmaster@example.com"


@pytest.mark.parametrize(
    ("domain", "pattern"),
    [("b.example.com", "b-%"), ("bounce.example.com", "b-%"), ("bounces.example.com", "b%"),
     ("a-long-name-of-bounces.example.com", "b%")],
)  # fmt: skip
def test_the_pattern_is_as_long_as_forwarders_allow(tmp_path: Path, domain: str, pattern: str) -> None:
    """Up to 51 octets with its token, where it can be; nothing to warn of then, and never a hint at a main domain."""
    assert init(tmp_path, "--sender", "news@example.com", domain=domain).exit_code == 0
    assert load.load(tmp_path / "retour.toml").stream[0].envelope_from == f"{pattern}@{domain}"
    said = " ".join(retour("check", config=tmp_path / "retour.toml").stderr.split())
    assert ("such as b%@b.example.com, a subdomain that nothing else uses" in said) == domain.startswith("a-long")


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a'b", "ünder", "a#b", "a%b", "a@DOMAIN@b", "a b"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    """Quotes, backslashes, spaces and our own place-holders in the folder's name stay what they are."""
    assert init(tmp_path / name).exit_code == 0
    done = CliRunner().invoke(main, ["check", "--config", str(tmp_path / name / "retour.toml")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / name / "retour.db").exists()


def test_a_folder_that_cannot_be_a_databases_address(tmp_path: Path) -> None:
    """A question mark would end the path in the database's address: refused, and nothing is left."""
    result = init(tmp_path / "a?b")
    assert result.exit_code == 78 and "store.url" in result.stderr
    assert contents(tmp_path) == {}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the folder should be: the system's words, exit status 1, no traceback."""
    (tmp_path / "file").write_text("x")
    result = init(tmp_path / "file" / "retour")
    assert (
        result.exit_code == 1 and result.stderr.startswith(f"retour: {tmp_path}/file") and "directory" in result.stderr
    )


@pytest.mark.parametrize("step", ["keyring.save", "migrate.upgrade"])
def test_what_cannot_be_finished_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A full disk half way: nothing is left that would keep the next try from working."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    module, name = step.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(init_module, module), name, fail)
        result = init(tmp_path)
        assert result.exit_code == 1 and "No space left on device" in result.stderr
    assert contents(tmp_path) == {}
    assert init(tmp_path).exit_code == 0


def killed_at(folder: Path, step: int) -> int:
    """The exit status of an init that is killed before the `step`th thing that it opens, makes, links or removes."""

    def work() -> None:
        steps = itertools.count(1)

        def hook(event: str, args: tuple[object, ...]) -> None:
            if event in STEPS and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        assert init(folder).exit_code == 0

    return forked(work).status


def test_an_init_that_was_killed_is_repeated(tmp_path: Path) -> None:
    """Killed before any step, from the first folder to the last draft removed: the next init makes all anew.

    Where the configuration had appeared, all had, and it refuses. No draft is left either way.
    """
    for step in itertools.count(1):
        folder = tmp_path / str(step)
        status = killed_at(folder, step)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        finished = (folder / "retour.toml").exists()
        assert init(folder).exit_code == (1 if finished else 0), (step, sorted(folder.rglob("*")))
        assert {path.name for path in folder.iterdir()} <= {"retour.toml", "keys.toml", "retour.db", "sockets", "spool"}
        config = load.load(folder / "retour.toml")
        assert keyring.load(config.tokens.keyring).signing() == 0
        open_store(config.store.url).close()
    assert step > 30


def test_what_was_put_there_after_a_killed_init_stays(tmp_path: Path) -> None:
    """A key ring from a backup, in the place of the one that the killed init had made: named, and not touched."""
    for step in itertools.count(1):
        folder = tmp_path / str(step)
        assert killed_at(folder, step), "no step between the key ring and the configuration"
        if (folder / "keys.toml").exists() and not (folder / "retour.toml").exists():
            break
    (folder / "keys.toml").unlink()
    (folder / "keys.toml").write_text("mine")
    result = init(folder)
    assert (
        result.exit_code == 1
        and result.stderr == f"retour: {folder}/keys.toml: already exists; init overwrites nothing\n"
    )
    assert (folder / "keys.toml").read_text() == "mine"


def published_only(folder: Path) -> None:
    """An init that is killed when all has appeared, before it removes its drafts."""

    def work() -> None:
        sys.addaudithook(lambda event, _: os.kill(os.getpid(), signal.SIGKILL) if event == "shutil.rmtree" else None)
        init(folder)

    assert forked(work).status == -signal.SIGKILL and (folder / ".retour-init").exists()


@pytest.mark.parametrize("is_closed", [True, False], ids=["in the file", "in the log"])
def test_a_database_in_use_is_no_left_over(tmp_path: Path, is_closed: bool) -> None:
    """All had appeared and was used; then the configuration is removed: database and key ring are there still."""
    published_only(tmp_path)
    added = ["suppressions", "add", "a@b.example", "--config", str(tmp_path / "retour.toml")]
    assert CliRunner().invoke(main, added).exit_code == 0
    reader = open_store(f"sqlite:///{tmp_path}/retour.db")
    with reader.reading():  # SQLite keeps the log for those who have the database open
        pass
    if is_closed:
        reader.close()
    (tmp_path / "retour.toml").rename(tmp_path / "kept.toml")
    before = contents(tmp_path)
    result = init(tmp_path)
    said = f"retour: {tmp_path}/keys.toml, {tmp_path}/retour.db: already exists; init overwrites nothing\n"
    assert (result.exit_code, result.stderr) == (1, said)
    assert {path: before[path] for path in before if "-shm" not in path}.items() <= contents(tmp_path).items()
    reader.close()


def test_a_left_over_database_that_was_only_opened_is_made_anew(tmp_path: Path) -> None:
    """SQLite's files beside it are its own, and go with it: here an init was killed while it looked into it."""
    published_only(tmp_path)
    (tmp_path / "retour.toml").unlink()

    def look() -> None:
        with open_store(f"sqlite:///{tmp_path}/retour.db").reading():
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(look).status == -signal.SIGKILL and (tmp_path / "retour.db-wal").exists()
    assert init(tmp_path).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"retour.toml", "keys.toml", "retour.db", "sockets", "spool"}
    open_store(f"sqlite:///{tmp_path}/retour.db").close()


def test_two_at_once_make_one_place(tmp_path: Path) -> None:
    """Of several runs at the same moment one wins, and what it made is whole."""
    code = [sys.executable, "-m", "retour_cli", "init", "--dir", str(tmp_path), "--domain", "b.example.com"]
    processes = [subprocess.Popen(code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    statuses = sorted(process.wait(PATIENCE) for process in processes)
    assert statuses == [0, 1]
    config = load.load(tmp_path / "retour.toml")
    assert keyring.load(config.tokens.keyring).signing() == 0
    open_store(config.store.url).close()


def test_json_tells_the_places(tmp_path: Path) -> None:
    """One object, for a script that goes on from there."""
    made = json.loads(init(tmp_path, "--json").stdout)
    assert made == {
        "config": f"{tmp_path}/retour.toml", "keyring": f"{tmp_path}/keys.toml",
        "database": f"{tmp_path}/retour.db", "sockets": f"{tmp_path}/sockets", "spool": f"{tmp_path}/spool",
    }  # fmt: skip


def test_where_it_writes_is_not_said_by_config(tmp_path: Path) -> None:
    """`--config` before the command is refused, rather than the system's places be filled."""
    done = retour("--config", tmp_path / "here.toml", "init", "--domain", "bounces.example.com")
    assert done.returncode and "--dir FOLDER" in done.stderr
    assert not any(tmp_path.iterdir())
