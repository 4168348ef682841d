"""The systemd units, users and folders are such that systemd itself has nothing to say about them."""

from __future__ import annotations

import configparser
import grp
import multiprocessing
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from retour_cli.services.run_record import RUNTIME
from retour_cli.services.sockets import Setting, open_socket
from retour_policy.config.feedback import WebSection
from retour_policy.config.model import SocketsSection
from retour_policy.files import NO_CREDENTIAL

NOBODY = 65534
UNITS = Path(__file__).parents[2] / "systemd"
PURGE = UNITS / "retour-purge.service"
UMBRELLA = UNITS / "retour.service"
SERVICES = sorted({*UNITS.glob("*.service")} - {PURGE, UMBRELLA})
MAX_EXPOSURE = 15  # of 100: what `systemd-analyze security` calls 1.5, and OK

needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed here")
    for name in ("systemd-analyze", "systemd-sysusers", "systemd-tmpfiles")
}


def settings(unit: Path) -> configparser.ConfigParser:
    """The keys of a unit; of one that stands there several times, the last value."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return parser


def verify(folder: Path) -> str:
    """What `systemd-analyze verify` prints about all units in a folder."""
    units = sorted(path for path in folder.iterdir() if path.suffix in {".service", ".socket", ".target", ".timer"})
    assert units
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_LOG_COLOR": "0"},
    )
    return done.stdout + done.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that exists in the place of one that may not be installed."""
    for unit in UNITS.iterdir():
        if unit.is_file():
            (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/bin/retour", "/bin/true"))
    return tmp_path


@needs["systemd-analyze"]
def test_systemd_has_nothing_to_say_about_the_units(units: Path) -> None:
    """`systemd-analyze verify` prints nothing at all; a mere warning fails this test too."""
    assert verify(units) == ""


@needs["systemd-analyze"]
def test_a_misspelt_key_would_be_noticed(units: Path) -> None:
    """The check above can fail: with one misspelt key systemd prints a warning."""
    unit = units / "retour-milter.service"
    unit.write_text(unit.read_text().replace("RestartSec=", "RestartSecs="))
    assert "RestartSecs" in verify(units)


def test_there_is_a_service_for_each_part_that_runs() -> None:
    """Milter, LMTP daemon, courier and web service each have a unit that runs the command of the same name."""
    commands = {unit.stem: settings(unit)["Service"]["ExecStart"] for unit in SERVICES}
    assert commands == {
        "retour-courier": "/usr/bin/retour courier",
        "retour-lmtpd": "/usr/bin/retour lmtpd",
        "retour-milter": "/usr/bin/retour milter",
        "retour-web": "/usr/bin/retour web",
    }


def test_what_is_old_is_purged_each_night() -> None:
    """The timer and its service bear one name; it runs as the others do, gives way to them, and ends by itself."""
    service, timer = settings(PURGE)["Service"], settings(PURGE.with_suffix(".timer"))["Timer"]
    assert (service["ExecStart"], service["Type"], service["User"]) == ("/usr/bin/retour purge", "oneshot", "retour")
    assert int(service["Nice"]) > 0
    assert (timer["OnCalendar"], timer["Persistent"]) == ("*-*-* 03:00", "true")
    assert "Unit" not in timer
    assert "retour-purge.timer" in settings(UMBRELLA)["Install"]["Also"]


@needs["systemd-analyze"]
@pytest.mark.parametrize("unit", [*SERVICES, PURGE], ids=lambda unit: str(unit.stem))
def test_services_may_do_little(units: Path, unit: Path) -> None:
    """Their exposure is at most 1.5, as `systemd-analyze security` counts it."""
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", units / unit.name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_name_stands_for_all_parts() -> None:
    """`retour.service` starts, stops, restarts and reloads each of them, and enables those that need no setting."""
    parts = {f"{unit.stem}.service" for unit in SERVICES} | {"retour-purge.timer"}
    assert set(settings(UMBRELLA)["Install"]["Also"].split()) == parts - {"retour-web.service"}
    for part in parts:
        unit = settings(UNITS / part)
        assert unit["Unit"]["PartOf"] == unit["Install"]["WantedBy"] == "retour.service"
        assert part.endswith(".timer") or unit["Unit"]["ReloadPropagatedFrom"] == "retour.service"


def test_mail_finds_retour_from_the_first_message_on() -> None:
    """What Postfix asks is started before it; on Debian 12 its own unit is the instance, not the umbrella."""
    for name in ("milter", "lmtpd"):
        assert settings(UNITS / f"retour-{name}.service")["Unit"]["Before"] == "postfix.service postfix@-.service"


@pytest.mark.parametrize("unit", [*SERVICES, PURGE], ids=lambda unit: str(unit.stem))
def test_nothing_fails_before_there_is_a_configuration(unit: Path) -> None:
    """A package can enable and start the units: without a configuration systemd passes over them."""
    assert settings(unit)["Unit"]["ConditionPathExists"] == "/etc/retour/retour.toml"


@pytest.mark.parametrize("unit", [*SERVICES, PURGE], ids=lambda unit: str(unit.stem))
def test_the_key_ring_is_handed_over(unit: Path) -> None:
    """As the credential that the program looks for; where there is none, as what it knows for none."""
    service = settings(unit)["Service"]
    assert service["LoadCredential"] == "keys.toml:/etc/retour/keys.toml"
    assert service["SetCredential"] == f"keys.toml:{NO_CREDENTIAL}"


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: str(unit.stem))
def test_services_keep_what_the_programs_rely_on(unit: Path) -> None:
    """Readiness by sd_notify, one user, group-only sockets, reload by USR1, no loop on bad configuration."""
    service = settings(unit)["Service"]
    assert service["Type"] == "notify"
    assert service["User"] == "retour"
    assert service["UMask"] == "0007"
    assert service["ExecReload"] == "/bin/sh -c 'kill -USR1 $MAINPID'"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "78")
    assert (service["WatchdogSec"], service["WatchdogSignal"]) == ("3min", "SIGTERM")
    assert service["RuntimeDirectory"] == f"{RUNTIME.name}/{unit.stem.removeprefix('retour-')}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with a user postfix, as on a host where Postfix is installed."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("postfix:x:123:124::/var/spool/postfix:/usr/sbin/nologin\n")
    (tmp_path / "etc/group").write_text("postfix:x:124:\nwww-data:x:33:\n")
    return tmp_path


@needs["systemd-sysusers"]
@needs["systemd-tmpfiles"]
def test_the_folder_of_the_sockets_gives_them_to_postfix(root: Path) -> None:
    """sysusers.d makes the user, tmpfiles.d the folders; a socket made there gets the group postfix."""
    for tool, options in (("sysusers", []), ("tmpfiles", ["--create"])):
        config = UNITS / f"{tool}.d" / "retour.conf"
        subprocess.run([f"systemd-{tool}", *options, f"--root={root}", config], check=True)
    user = next(line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("retour:"))
    retour = int(user.split(":")[2])
    sockets = (root / "var/spool/postfix/retour").stat()
    assert (sockets.st_uid, sockets.st_gid, stat.S_IMODE(sockets.st_mode)) == (retour, 124, 0o2750)
    web = (root / "run/retour-web").stat()
    assert (web.st_uid, web.st_gid, stat.S_IMODE(web.st_mode)) == (retour, 33, 0o2750)
    config_folder = (root / "etc/retour").stat()
    assert (config_folder.st_uid, stat.S_IMODE(config_folder.st_mode)) == (retour, 0o750)
    made = root / "var/spool/postfix/retour/file"
    made.touch()
    assert made.stat().st_gid == 124


def test_a_socket_made_by_a_service_is_for_the_group_postfix_only(root: Path) -> None:
    """The services' user needs no membership in that group: the folder's set-group-id bit is enough."""
    folder = root / "sockets"
    folder.mkdir()
    postfix = grp.getgrnam("postfix").gr_gid
    os.chown(folder, NOBODY, postfix)
    folder.chmod(0o2750)
    path = folder / "lmtp.sock"
    service = multiprocessing.get_context("fork").Process(target=listen_as_nobody, args=(path,))
    service.start()
    service.join()
    assert service.exitcode == 0
    made = path.stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (NOBODY, postfix, 0o660)


def listen_as_nobody(path: Path) -> None:
    """What the service's process does, as a user without other groups and with the units' umask."""
    os.chdir(path.parent)  # while root: others may not pass the temporary folder's parents
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(0o007)
    open_socket(Setting("retour.toml", "lmtpd.listen"), f"unix:{path.name}", SocketsSection())


def test_the_units_and_the_postfix_recipe_name_the_same_sockets() -> None:
    """The LMTP socket that systemd can hold is the one that the recipe's transport leads to."""
    socket = settings(UNITS / "retour-lmtpd.socket")["Socket"]["ListenStream"]
    recipe = (UNITS.parent / "postfix-examples/basic/main.cf").read_text()
    assert "=retour:unix:" + socket.removeprefix("/var/spool/postfix/") in recipe


def test_the_web_servers_are_shown_the_socket_that_the_service_has() -> None:
    """What the configuration names by default, systemd can hold, the folder is for, and the recipes lead to."""
    socket = settings(UNITS / "retour-web.socket")["Socket"]["ListenStream"]
    assert WebSection.model_fields["listen"].default == (f"unix:{socket}",)
    assert f"d {Path(socket).parent} 2750 retour www-data -" in (UNITS / "tmpfiles.d/retour.conf").read_text()
    for name, text in (("nginx.conf", f"http://unix:{socket};"), ("Caddyfile", f"unix/{socket}\n")):
        assert text in (UNITS.parent / "docs/web-server" / name).read_text()
