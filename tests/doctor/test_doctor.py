"""`retour doctor`: on an installation that works it finds nothing; what breaks one is found, and said in order."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lab.configurations import STREAM, write_postfix
from lab.process import workspace
from lab.site import Site, retour
from lab.zone_server import ZoneServer
from retour_cli.context import Context
from retour_cli.doctor import live
from retour_cli.doctor.finding import Finding
from retour_cli.doctor.live import Live
from retour_cli.doctor.names import Names
from retour_cli.postfix.postconf import Programs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a Postfix runs as root")
A = "anna@example.net"


def examined(config: Path, postfix: Path, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and findings and steps by their names."""
    done = retour("doctor", "--postfix", postfix, "--no-dns", "--json", *words, config=config)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {one.get("finding") or one["step"]: one for one in found}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with workspace() as folder, Site(folder, STREAM, services=("milter", "lmtpd", "courier")) as site:
        yield site


@pytest.fixture
def postfix(site: Site) -> Iterator[Callable[..., None]]:
    """Changes settings of the site's Postfix, until the test ends."""
    main = site.postfix.config / "main.cf"
    before = main.read_bytes()

    def change(*settings: str) -> None:
        site.postfix.run("postconf", "-e", *settings)
        site.postfix.run("postfix", "reload")

    yield change
    main.write_bytes(before)
    site.postfix.run("postfix", "reload")


def test_a_site_that_works(site: Site) -> None:
    """Nothing is found; for people in a sentence."""
    assert examined(site.config, site.postfix.config) == (0, {})
    done = site.retour("doctor", "--no-dns", "--postfix", site.postfix.config, "--deep")
    assert (done.returncode, done.stdout) == (0, "nothing wrong was found\n")


def test_findings_are_in_order_of_urgency_and_readable(site: Site, postfix: Callable[..., None]) -> None:
    """The most urgent first, each with its line, whole, to be copied; the exit status is its."""
    postfix("mydestination=bounces.example.com", "delay_warning_time=4h", "smtpd_milters=")
    done = site.retour("doctor", "--no-dns", "--postfix", site.postfix.config)
    urgencies = re.findall(r"^(critical|warning|hint) ", done.stdout, re.MULTILINE)
    assert urgencies == sorted(urgencies, key=("critical", "warning", "hint").index) and len(set(urgencies)) == 3
    assert "           delay_warning_time = 0h\n" in done.stdout and done.returncode == 78
    assert re.search(r"1 critical finding, \d warnings?, 1 hint; docs/doctor.md", done.stdout)


def test_live_takes_every_step_and_leaves_nothing_counted(site: Site) -> None:
    """A real message arrives, a forgery is refused, the bounce counts, and is taken back."""
    status, found = examined(site.config, site.postfix.config, "--live", A, "--server", site.postfix.smtp_server)
    steps = ["accepted", "stamped", "delivered", "forged refused", "bounce counted", "taken back"]
    assert [name for name in found if name in steps] == steps and status in (0, 1)
    assert site.destination.wait_to(A).headers("Subject") == [live.SUBJECT]
    assert [event["kind"] for event in site.events()] == ["bounce", "undone"]
    assert site.retour("suppressions", "list").stdout == "nobody is suppressed\n"


@pytest.mark.parametrize(
    ("name", "settings", "to"),
    [
        ("live-unstamped", ["smtpd_milters="], A),
        ("live-deferred", [], "softly@example.net"),
        ("live-forged-taken", ["relay_recipient_maps="], A),
        ("live-bounce-refused", ["smtpd_sender_restrictions=check_sender_access inline:{<>=REJECT}"], A),
        ("live-bounce-lost", ["transport_maps=inline:{bounces.example.com=discard:, example.net=discard:}"], A),
    ],
)
def test_live_says_which_step_fails(
    site: Site, postfix: Callable[..., None], monkeypatch: pytest.MonkeyPatch, name: str, settings: list[str], to: str
) -> None:
    """With what Postfix said."""
    monkeypatch.setattr(live, "PATIENCE_S", 3.0)
    if settings:
        postfix(*settings)
    found = examined(site.config, site.postfix.config, "--live", to, "--server", site.postfix.smtp_server)[1]
    assert found[name]["text"] and not found[name]["well"]


def test_live_that_postfix_does_not_take(site: Site) -> None:
    """The submission port relays for logins only: its reply is shown."""
    server = site.postfix.submission_server
    status, found = examined(site.config, site.postfix.config, "--live", A, "--server", server)
    assert status == 78 and "554 5.7.1" in found["live-refused"]["text"]


def test_a_service_with_an_older_configuration(site: Site) -> None:
    """Named with what has it read the file again."""
    before = site.config.read_text()
    site.config.write_text(before + "\n# edited\n")
    status, found = examined(site.config, site.postfix.config)
    site.config.write_text(before)
    assert status == 1 and "systemctl reload retour" in found["service-behind"]["mend"][0]


def test_a_service_that_is_away(site: Site) -> None:
    """Named with its unit; the milter still answers."""
    site.services["lmtpd"].stop()
    status, found = examined(site.config, site.postfix.config)
    assert status == 78 and found["service-away"]["mend"] == ["systemctl start retour-lmtpd"]
    site.start("lmtpd")


def test_a_database_that_was_replaced_under_the_services(site: Site) -> None:
    """A copy lies at its path; the services have the old file open still."""
    database = site.home / "retour.db"
    with database.open("rb"):
        shutil.copy(database, site.home / "copy.db")
        (site.home / "copy.db").rename(database)
        found = examined(site.config, site.postfix.config)[1]
    assert "was removed or replaced" in found["database-replaced"]["text"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `retour init` makes."""
    home = tmp_path_factory.mktemp("made") / "retour"
    assert retour("init", "--dir", home, "--domain", "bounces.example.com").returncode == 0
    return home


@pytest.fixture
def home(made: Path, folder: Path) -> Path:
    """A copy of that, beside a Postfix that does not run."""
    home = folder / "retour"
    shutil.copytree(made, home)
    shutil.chown(home / "sockets", group="postfix")
    (home / "retour.toml").write_text((home / "retour.toml").read_text().replace(str(made), str(home)))
    write_postfix(folder / "etc", {"queue_directory": str(home)})
    return home


def execute(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "retour.db")) as connection, connection:
        connection.execute(statement)


def edit(home: Path, name: str, old: str, new: str) -> None:
    text = (home / name).read_text()
    assert re.search(old, text)
    (home / name).write_text(re.sub(old, new, text))


def spoiled(home: Path) -> None:
    """Pages in the middle of the file are written over."""
    with (home / "retour.db").open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xff" * 4096 * 8)


BROKEN: list[tuple[str, Callable[[Path], object]]] = [
    ("store-refused", lambda home: execute(home, "UPDATE retour_schema SET version_num = '0001'")),
    ("store-unreachable", lambda home: edit(
        home, "retour.toml", "sqlite:.*db", "postgresql+psycopg://retour@127.0.0.1:1/retour")),
    ("database-damaged", spoiled),
    ("configuration", lambda home: (home / "keys.toml").chmod(0o644)),
    ("setting-harms", lambda home: edit(home, "retour.toml", '"shared"', '"refuse"')),
    ("key-old", lambda home: edit(home, "keys.toml", r'created = "\d+', 'created = "2020')),
    ("dated-in-the-future", lambda home: execute(
        home, "INSERT INTO fact (at, kind, detail) VALUES (4102444800000, 'suppress', '{}')")),
    ("postfix-away", lambda home: None),
    ("service-away", lambda home: None),
    ("folder-missing", lambda home: shutil.rmtree(home / "sockets")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "break_it"), BROKEN)
def test_what_is_wrong_inside_is_found(home: Path, name: str, break_it: Callable[[Path], object]) -> None:
    """Files, store, key ring and processes, each broken in a copy."""
    break_it(home)
    status, found = examined(home / "retour.toml", home.parent / "etc")
    assert status == 78 and name in found


def test_without_postfix_the_rest_is_looked_at(home: Path) -> None:
    """Exim may be there instead."""
    found = examined(home / "retour.toml", home.parent / "nowhere")[1]
    assert "postfix-missing" in found and "postfix-away" not in found


def test_live_needs_an_address(home: Path) -> None:
    """And one that is none is refused before anything is sent."""
    done = retour("doctor", "--no-dns", "--live", "nobody", config=home / "retour.toml")
    assert done.returncode == 1 and "is not an e-mail address" in done.stderr


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that signs."""
    path = tmp_path_factory.mktemp("dkim") / "key.pem"
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", path, "1024"], check=True, capture_output=True)
    return path


def signed(key: Path, content: bytes, *fields: bytes) -> bytes:
    """A message as a signer makes it, with the line ends that postcat shows."""
    import dkim

    wire = content.replace(b"\n", b"\r\n")
    signature = dkim.sign(wire, b"s", b"example.com", key.read_bytes(), include_headers=[b"from", *fields])
    return bytes((signature + wire).replace(b"\r\n", b"\n"))


def public(key: Path) -> str:
    """Its record."""
    text = subprocess.run(["openssl", "rsa", "-in", key, "-pubout"], check=True, capture_output=True, text=True).stdout
    return f'"v=DKIM1; p={"".join(text.splitlines()[1:-1])}"'


MESSAGE = b"From: news@example.com\nSubject: hello\nFeedback-ID: news:example.com\n\nHello.\n"


@pytest.mark.parametrize(
    ("fields", "spoil", "said"),
    [
        ([b"feedback-id"], (b"", b""), "its DKIM signature by example.com holds"),
        ([b"subject"], (b"", b""), "live-not-covered"),
        ([b"feedback-id"], (b"Hello.", b"Other."), "live-signature-broken"),
        (None, (b"", b""), "live-unsigned"),
    ],
)
def test_the_signature_is_verified(
    home: Path, key: Path, fields: list[bytes] | None, spoil: tuple[bytes, bytes], said: str
) -> None:
    """With the key of the DNS: whether it holds, and whether it covers what Retour stamps."""
    content = MESSAGE if fields is None else signed(key, MESSAGE, *fields).replace(*spoil)
    with ZoneServer({("s._domainkey.example.com", "TXT"): [public(key)]}) as server:
        path = Live(Context(home / "retour.toml"), Programs(), A, "", Names(server.address), None)
        steps = list(path._signature(content))
    assert said in [step.name if isinstance(step, Finding) else step[1] for step in steps]
