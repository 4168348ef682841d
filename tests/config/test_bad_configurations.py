"""Bad configurations: each folder holds one, and the words that `retour check` must find for it.

`@HERE@` in both files is the folder itself, as a copy in which a good and a bad key ring and a database stand.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.wait import PATIENCE
from retour_cli.doctor import access
from retour_cli.main import main
from retour_policy.store import migrate
from retour_policy.store.database import open_store
from retour_policy.tokens import keyring

SOCKETS = 'milter.socket = "fd:milter"\nlmtpd.lookup = "fd:lookup"\nlmtpd.listen = ["fd:lmtp"]\n'
"""From systemd, which needs no folder here."""
CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/expected"))


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a configuration names: a database and key rings."""
    folder = tmp_path_factory.mktemp("furnished")
    keyring.save(folder / "keys.toml", keyring.create(1_800_000_000_000))
    shutil.copy(folder / "keys.toml", folder / "open.toml")
    (folder / "open.toml").chmod(0o644)
    (folder / "damaged.toml").write_text('address_secret = "00"\n')
    (folder / "damaged.toml").chmod(0o600)
    store = open_store(f"sqlite:///{folder}/retour.db", check=False)
    migrate.upgrade(store)
    store.close()
    return folder


@pytest.fixture
def here(furnished: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of that folder, which is the current one."""
    folder = tmp_path / "here"
    shutil.copytree(furnished, folder)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases leave the sockets where they are by default, and hosts differ in what is there."""
    monkeypatch.setattr(access, "_sockets", lambda _: ())


def put(here: Path, case: Path) -> tuple[Path, str]:
    """The configuration of a case in `here`, and what is expected."""
    where = str(here).encode()
    (here / "retour.toml").write_bytes((case / "retour.toml").read_bytes().replace(b"@HERE@", where))
    return here / "retour.toml", (case / "expected").read_text().replace("@HERE@", str(here))


def good(here: Path) -> str:
    """A configuration that is right: its files, and a folder for its sockets, are there."""
    (here / "s").mkdir(mode=0o755, exist_ok=True)
    sockets = {"milter.socket": "m", "lmtpd.lookup": "k"}
    lines = [f'{key} = "unix:{here}/s/{name}"' for key, name in sockets.items()]
    lines += [f'lmtpd.listen = ["unix:{here}/s/l"]', f'sockets.group = "{grp.getgrgid(os.getgid()).gr_name}"']
    return "\n".join([f'store.url = "sqlite:///{here}/retour.db"', f'tokens.keyring = "{here}/keys.toml"', *lines, ""])


def check(config: Path) -> Result:
    return CliRunner().invoke(main, ["check", "--config", str(config)])


def test_there_is_a_folder_for_each_case() -> None:
    """Every folder has both files, and there are enough of them."""
    folders = [path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(folders) == CASES and len(CASES) >= 25


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_configuration_is_refused_in_clear_words(here: Path, case: Path) -> None:
    """Exit status 78, nothing on standard output, and on standard error file:key and what would be right."""
    config, expected = put(here, case)
    result = check(config)
    assert (result.exit_code, result.stdout, result.stderr) == (78, "", expected)
    assert all(len(line) < 450 for line in result.stderr.splitlines())


@pytest.mark.parametrize("name", ["unknown-key", "keyring-that-others-can-read", "several-faults-at-once"])
def test_the_installed_command_says_the_same(here: Path, name: str) -> None:
    """The process that a postmaster runs has that exit status and those words, and no traceback."""
    config, expected = put(here, Path(__file__).parent / name)
    config.write_text(SOCKETS + config.read_text())
    command = [sys.executable, "-m", "retour_cli", "check", "--config", config]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", expected)


def test_a_good_configuration_beside_them_is_good(here: Path) -> None:
    """The frame of all cases is right: what each refuses is what it is about."""
    config = here / "retour.toml"
    config.write_text(good(here))
    result = check(config)
    assert result.exit_code == 0, result.stderr


def test_check_counts_the_rules(here: Path) -> None:
    """Those of the operator's own file. tests/cli/test_root.py has what happens where only root can read it."""
    config, rules = here / "retour.toml", here / "rules.toml"
    rules.write_text('[[rule]]\nname = "ours"\nreason = "suspend"\nwords = ["shut"]\nexamples = ["550 shut"]\n')
    config.write_text(good(here) + f'lmtpd.rules = "{rules}"\n')
    assert f"{rules}: 1 rule, tried before the built-in ones" in " ".join(check(config).stdout.split())


def test_a_missing_file_is_told_how_to_come_by(here: Path) -> None:
    """No configuration: the error names `retour init`."""
    result = check(here / "none.toml")
    assert (result.exit_code, result.stderr) == (
        78,
        f"retour: {here}/none.toml: No such file or directory; `retour init` writes one\n",
    )


def test_a_folder_is_no_configuration(here: Path) -> None:
    """A folder in place of the file is an error of the configuration."""
    result = check(here)
    assert (result.exit_code, result.stderr) == (78, f"retour: {here}: cannot be read: Is a directory\n")


NOT_REGULAR = {
    "retour.toml": "retour: {here}/retour.toml: cannot be read: is not a regular file",
    "keys.toml": "retour: {here}/retour.toml:tokens.keyring: {here}/keys.toml: cannot be read: is not a regular file",
    "rules.toml": "retour: {here}/retour.toml:lmtpd.rules: {here}/rules.toml: is not a regular file",
    "secret": "retour: {here}/retour.toml:hook[h].secret_file: {here}/secret: is not a regular file",
}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "pipe") for name in NOT_REGULAR), ("retour.toml", "device"), ("rules.toml", "device")]
)
def test_what_never_ends_is_no_file_of_ours(here: Path, name: str, kind: str) -> None:
    """A pipe that nobody writes to, a device without an end: in the place of any file that is read, refused at once."""
    config, place = here / "retour.toml", here / name
    config.write_text(
        f'{SOCKETS}store.url = "sqlite:///{here}/retour.db"\ntokens.keyring = "{here}/keys.toml"\n'
        + (f'lmtpd.rules = "{place}"\n' if name == "rules.toml" else "")
        + (f'[[hook]]\nname = "h"\non = ["all"]\nwebhook = "https://a.example/"\nsecret_file = "{place}"\n')
        * (name == "secret")
    )
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place, 0o600)
    else:
        place.symlink_to("/dev/zero")
    command = ["prlimit", "--as=2000000000", sys.executable, "-m", "retour_cli", "check", "--config", config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (78, "", NOT_REGULAR[name].format(here=here) + "\n")


@pytest.mark.parametrize(("octets", "status"), [(1_000_000, 0), (1_000_001, 78)])
def test_a_huge_file_is_no_configuration(here: Path, octets: int, status: int) -> None:
    """At most 1 MB is read, and the limit is told."""
    config = here / "retour.toml"
    text = good(here) + "#"
    config.write_text(text.ljust(octets, "x"))
    result = check(config)
    assert result.exit_code == status
    assert (f"retour: {config}: cannot be read: is larger than 1000000 octets\n" == result.stderr) == (status == 78)


def test_a_file_that_may_not_be_read_is_told(here: Path) -> None:
    """The service's user without the right to read: exit status 78 and the system's words."""
    config = here / "retour.toml"
    config.write_text("")
    config.chmod(0o000)
    code = "import os\nimport retour_cli.commands.check\nfrom retour_cli.main import main\n"
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" if os.geteuid() == 0 else ""
    code += "main(prog_name='retour')"
    for parent in (here, here.parent, here.parent.parent, here.parent.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", code, "check", "--config", config], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (78, f"retour: {config}: cannot be read: Permission denied\n")
