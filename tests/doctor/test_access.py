"""Access: whatever the services' user could not use is found before a service ends for it, with what mends it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.forked import forked
from lab.second_user import as_root, give_sockets_to_postfix
from lab.site import retour
from retour_cli import privileges, remedies, services_user
from retour_cli.doctor import access
from retour_cli.doctor.finding import Finding
from retour_cli.privileges import Owner, become
from retour_policy.config.load import load
from retour_policy.errors import ConfigError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that others cannot use")
NOBODY = Owner.named("nobody", Path("/"))
HOOKS = """
[[hook]]
name = "shop"
on = ["suppressed"]
webhook = "https://app.example.com/retour"
secret_file = "{home}/shop.secret"

[[hook]]
name = "run"
on = ["suppressed"]
command = ["{home}/run"]
"""


@pytest.fixture(autouse=True)
def all_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it does not matter here whether the second user could read the program."""
    monkeypatch.setattr(privileges, "PROGRAM", ())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `retour init` makes it."""
    home = tmp_path_factory.mktemp("made") / "retour"
    assert retour("init", "--dir", home, "--domain", "bounces.example.com").returncode == 0
    return home


@pytest.fixture
def home(made: Path, folder: Path) -> Path:
    """An installation of the second user's that lacks nothing."""
    home = folder / "retour"
    shutil.copytree(made, home)
    config = home / "retour.toml"
    text = config.read_text().replace(str(made), str(home))
    text = text.replace('max_size = "256k"', 'retry = { interval = "4h", count = 3 }')
    config.write_text(text + HOOKS.format(home=home))
    (home / "shop.secret").write_text("whsec_" + "QUFB" * 8)
    (home / "run").write_text("#!/bin/sh\n")
    for name, mode in (("shop.secret", 0o600), ("run", 0o755)):
        (home / name).chmod(mode)
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY.uid, NOBODY.gid)
    give_sockets_to_postfix(home)
    return home


def found(home: Path) -> list[Finding]:
    """What the second user finds."""
    config = load(home / "retour.toml")

    def work() -> list[Finding]:
        become(NOBODY)
        return access.find_files(home / "retour.toml", config) + access.find_sockets(config)

    return forked(work).value or []


def roots(name: str, mode: int = 0o600) -> Callable[[Path], None]:
    """A file of root's, as a command that root ran leaves it."""

    def break_it(home: Path) -> None:
        path = home / name
        path.touch()
        os.chown(path, 0, 0)
        path.chmod(mode)

    return break_it


def wrong_group(home: Path) -> None:
    os.chown(home / "sockets", NOBODY.uid, NOBODY.gid)


def closed_to_postfix(home: Path) -> None:
    (home / "sockets").chmod(0o2700)


def roots_folder(home: Path) -> None:
    os.chown(home / "sockets", 0, -1)


def no_folder(home: Path) -> None:
    (home / "sockets").rmdir()


def closed_home(home: Path) -> None:
    os.chown(home, 0, 0)
    home.chmod(0o700)


def roots_home(home: Path) -> None:
    os.chown(home, 0, 0)


def closed_above(home: Path) -> None:
    home.parent.chmod(0o700)


def no_group(home: Path) -> None:
    _replace(home, 'group = "postfix"', 'group = "nosuchgroup"')


def file_for_a_socket(home: Path) -> None:
    (home / "sockets/lmtp.sock").write_text("x")


def long_path(home: Path) -> None:
    _replace(home, f"unix:{home}/sockets/lmtp.sock", f"unix:{home}/sockets/{'x' * 100}")


def low_port(home: Path) -> None:
    _replace(home, f'listen = ["unix:{home}/sockets/lmtp.sock"]', 'listen = ["inet:24@127.0.0.1"]')
    _replace(home, "allow = []", 'allow = ["127.0.0.1"]')


def foreign_address(home: Path) -> None:
    _replace(home, f'listen = ["unix:{home}/sockets/lmtp.sock"]', 'listen = ["inet:2424@192.0.2.1"]')
    _replace(home, "allow = []", 'allow = ["127.0.0.1"]')


def _replace(home: Path, old: str, new: str) -> None:
    text = (home / "retour.toml").read_text()
    assert old in text
    (home / "retour.toml").write_text(text.replace(old, new))


BROKEN = [
    (roots("retour.toml"), "file-unreadable"),
    (roots("keys.toml"), "file-unreadable"),
    (roots("shop.secret"), "file-unreadable"),
    (roots("retour.db", 0o640), "file-not-writable"),
    (roots("retour.db-wal", 0o644), "file-not-writable"),
    (roots("retour.db.lock"), "file-not-writable"),
    (wrong_group, "socket-group"),
    (closed_to_postfix, "socket-closed"),
    (closed_above, "folder-closed"),
    (roots_folder, "folder-not-writable"),
    (no_folder, "folder-missing"),
    (closed_home, "folder-closed"),
    (roots_home, "folder-not-writable"),
    (file_for_a_socket, "socket-path"),
]
CANNOT_BE_RUN = [
    (no_group, "socket-group-missing"),
    (long_path, "socket-path"),
    (low_port, "port-below-1024"),
    (foreign_address, "address-not-here"),
]


def test_of_a_whole_installation_nothing_is_said(home: Path) -> None:
    """As `retour init` makes it for its user, with hooks and a spool."""
    assert found(home) == []


@pytest.mark.parametrize(("break_it", "name"), BROKEN)
def test_what_the_services_cannot_use_is_found_and_mended_by_the_line_that_is_printed(
    home: Path, break_it: Callable[[Path], None], name: str
) -> None:
    """The command is run as it stands, by root; then nothing is found any more. Check ends with 78 before it."""
    break_it(home)
    checked = as_root("check", "--user", "nobody", config=home / "retour.toml")
    first, *_ = findings = found(home)
    assert name in {one.name for one in findings}
    assert checked.returncode == 78 and first.text in checked.stderr and first.mend[0] in checked.stderr
    for _ in range(3):  # behind a closed folder there may be more
        for one in findings:
            for line in one.mend:
                subprocess.run(line, shell=True, check=True)
        findings = found(home)
    assert findings == []


@pytest.mark.parametrize(("break_it", "name"), CANNOT_BE_RUN)
def test_what_only_the_configuration_can_mend(home: Path, break_it: Callable[[Path], None], name: str) -> None:
    """Named with its key."""
    break_it(home)
    (one,) = found(home)
    assert one.name == name and one.key in ("sockets.group", "lmtpd.listen")


def test_check_looks_as_the_units_user(home: Path, tmp_path: Path) -> None:
    """The unit and its drop-ins say whom the services run as, whoever owns the files."""
    units = (tmp_path / "etc", tmp_path / "lib")
    assert services_user.unit_user(units) is None
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/retour-lmtpd.service").write_text("[Service]\nUser=retour\nGroup=x\n")
    assert services_user.unit_user(units) == "retour"
    (tmp_path / "etc/retour-lmtpd.service.d").mkdir(parents=True)
    (tmp_path / "etc/retour-lmtpd.service.d/local.conf").write_text("[Service]\nUser=mail\n")
    assert services_user.unit_user(units) == "mail"
    default = Path("/etc/retour/retour.toml")
    assert services_user.find(default, [home], units) == Owner.named("mail", default)
    assert services_user.find(home / "retour.toml", [home], units) == Owner(NOBODY.uid, NOBODY.gid, home)


def test_a_user_of_the_units_who_does_not_exist(tmp_path: Path) -> None:
    """Named, with what makes them."""
    (tmp_path / "retour-lmtpd.service").write_text("[Service]\nUser=nosuchuser\n")
    with pytest.raises(ConfigError, match=r"there is no user nosuchuser.*systemd-sysusers"):
        services_user.find(Path("/etc/retour/retour.toml"), [], [tmp_path])


def test_where_tmpfiles_makes_the_folder_it_is_told_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not mkdir, whose folder Postfix could not enter, and which a reboot may remove."""
    rules = home.parent / "tmpfiles.d"
    rules.mkdir()
    (rules / "retour.conf").write_text(f"# comment\nd {home}/sockets 2750 retour postfix -\n")
    monkeypatch.setattr(remedies, "TMPFILES", (rules,))
    shutil.rmtree(home / "sockets")
    assert [one.mend for one in found(home)] == [("systemd-tmpfiles --create retour.conf",)]


def test_a_user_by_number(home: Path) -> None:
    """`--user` takes one that passwd(5) does not know."""
    done = as_root("check", "--user", "4242", config=home / "retour.toml")
    assert done.returncode == 78 and "the services' user 4242 cannot" in done.stderr


def test_a_command_that_the_services_cannot_run(home: Path) -> None:
    """Root could."""
    roots("run", 0o744)(home)
    done = as_root("check", "--user", "nobody", config=home / "retour.toml")
    assert done.returncode == 78 and f"{home}/run: is not executable; run: chmod +x {home}/run" in done.stderr
