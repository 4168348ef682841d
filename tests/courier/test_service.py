"""The courier as a service: readiness, reload, the end, and what it refuses to start with."""

from __future__ import annotations

import signal

import pytest

from lab.process import Child
from lab.site import RETOUR, retour
from lab.wait import wait_until
from retour_policy.clock import system_clock
from retour_policy.outbox import queue
from retour_policy.store.database import open_store
from retour_policy.store.outbox import NewItem

HOOK = """
[[hook]]
name = "{name}"
on = ["all"]
command = ["/usr/bin/tee", "-a", "{file}"]
"""


@pytest.fixture
def config(folder):
    """A configuration with one hook."""
    assert retour("init", "--dir", folder / "home", "--domain", "bounces.example.com").returncode == 0
    path = folder / "home/retour.toml"
    path.write_text(path.read_text() + HOOK.format(name="one", file=folder / "one"))
    return path


@pytest.fixture
def courier(folder, config):
    with Child([*RETOUR, "courier", "--config", config], folder=folder, name="courier") as child:
        child.wait_ready()
        yield child


def put(config, name):
    store = open_store(f"sqlite:///{config.parent}/retour.db")
    with store.writing() as connection:
        queue.put(connection, NewItem(system_clock(), "event", f"hook:{name}", "paused", b'{"type": "paused"}'))
    store.close()


def reload(courier, words):
    before = courier.log().count(words)
    courier.send_signal(signal.SIGUSR1)
    wait_until(lambda: courier.log().count(words) > before, what=words, seen=courier.log)


def arrives(folder, name):
    wait_until(lambda: (folder / name).exists() and (folder / name).read_text(), what=f"an event of {name}")


def test_it_works_reloads_and_ends(courier, folder, config):
    """A new hook is served after a reload; a bad one is refused and the old ones stay; SIGTERM ends with 0."""
    put(config, "one")
    arrives(folder, "one")
    good = config.read_text()
    config.write_text(good + HOOK.format(name="two", file=folder / "two").replace("/usr/bin/tee", "/nowhere/program"))
    reload(courier, "configuration refused, the old one stays in force")
    assert "hook[two].command: /nowhere/program: no such file" in courier.log()
    config.write_text(good + HOOK.format(name="two", file=folder / "two"))
    reload(courier, "configuration reloaded")
    put(config, "two")
    arrives(folder, "two")
    assert courier.stop() == 0
    assert ": courier stopped" in courier.log()
    assert retour("outbox", "list", config=config).stdout == "nothing waits\n"


def test_with_a_secret_that_others_can_read_it_does_not_start(folder, config):
    """Exit status 78, file and key."""
    (folder / "secret").write_text("whsec_x")
    (folder / "secret").chmod(0o644)
    hook = f'\n[[hook]]\nname = "web"\non = ["all"]\nwebhook = "https://a.example/"\nsecret_file = "{folder}/secret"\n'
    config.write_text(config.read_text() + hook)
    with Child([*RETOUR, "courier", "--config", config], folder=folder, name="courier") as child:
        assert child.wait() == 78
        assert f"{config}:hook[web].secret_file: others can use {folder}/secret" in child.log()
