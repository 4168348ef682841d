#!/usr/bin/env python3
"""Makes the fixtures of tests/bounces again: real reports of real servers, each run in a throw-away overlay.

Needs root, overlayfs, unshare(1), ip(8) and apt. Every server is installed into an overlay of the root
file system and run in a network namespace that has nothing but loopback, so the system stays as it is and no mail can
leave it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from mailservers import mailboxes
from mailservers.scenarios import SCENARIOS, Scenario
from mailservers.servers import SERVERS

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "tests" / "bounces" / "fixtures"
DOVECOT = "dovecot-core dovecot-lmtpd dovecot-sieve dovecot-imapd"
SCRIPT = """
set -e
mount -t overlay overlay -o lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work $BASE/root
mount --bind /dev $BASE/root/dev
mount -t proc proc $BASE/root/proc
mkdir -p $BASE/root/fixtures
cp -r $HERE/mailservers $BASE/root/fixtures/
printf '#!/bin/sh\\nexit 101\\n' > $BASE/root/usr/sbin/policy-rc.d
chmod 755 $BASE/root/usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
echo 'postfix postfix/main_mailer_type select No configuration' | chroot $BASE/root debconf-set-selections \\
  || true
chroot $BASE/root apt-get -qq -y -o Dpkg::Options::=--force-confnew install --no-install-recommends \\
  $PACKAGES > $BASE/apt.log 2>&1 \\
  || { tail -5 $BASE/apt.log; exit 1; }
unshare --net --uts --pid --fork chroot $BASE/root sh -c "mount -t proc proc /proc; \\
  cd /fixtures; exec python3 -m mailservers.inside $NAME /fixtures/out"
"""
KEPT = {True: 2, False: 4}
"""Reports kept of one scenario and kind: warnings, others."""
UNROUTEABLE = ("user@gone.example", "nouser@home.example")
WARNING = re.compile(
    r"^Action:\s*delayed|^Subject:.*\b(?:delay|warning|still being retried)", re.IGNORECASE | re.MULTILINE
)


def make(name: str, packages: str) -> list[dict[str, object]]:
    """Runs one server and keeps its reports; the labels of what it wrote."""
    base = Path(tempfile.mkdtemp(prefix="retour-fixtures-"))
    for folder in ("upper", "work", "root"):
        (base / folder).mkdir()
    env = {
        "BASE": str(base),
        "HERE": str(HERE),
        "NAME": name,
        "PACKAGES": packages,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    try:
        subprocess.run(["unshare", "--mount", "bash", "-c", SCRIPT], env=env, check=True, timeout=240)
        return keep(name, base / "upper" / "fixtures" / "out")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def keep(name: str, out: Path) -> list[dict[str, object]]:
    """Copies the reports of a server and writes how each must be read, by its scenario alone."""
    scenarios = {one.name: one for one in SCENARIOS}
    labels: list[dict[str, object]] = []
    seen: dict[tuple[str, str], int] = {}
    for path in sorted(out.iterdir(), key=lambda one: (one.stem, int(one.suffix[1:]))):
        data = path.read_bytes()
        label: dict[str, object] = {"server": name, "scenario": path.stem}
        label |= expected(name, scenarios[path.stem], data) if path.stem in scenarios else mailboxes.label(path.stem)
        kind = str(label["kind"])
        seen[path.stem, kind] = seen.get((path.stem, kind), 0) + 1
        if seen[path.stem, kind] <= KEPT[kind == "delayed"]:
            file = f"{name}-{path.name.replace('.', '-')}.eml"
            TARGET.joinpath(file).write_bytes(data)
            labels.append({"file": file} | label)
    return labels


def expected(name: str, scenario: Scenario, data: bytes) -> dict[str, object]:
    """Kind and recipients that a scenario's report must have: those that it names before the returned
    message."""
    text = data.decode("utf-8", "replace")
    top = text.partition("\nMessage headers follow")[0].partition("\nMessage-ID: <" + scenario.name + ".1@")[0]
    top = re.sub(r"^To:.*(?:\n[ \t].*)*", "", top, flags=re.MULTILINE | re.IGNORECASE).lower()
    named = [one for one in scenario.fates if one.lower() in top] or list(scenario.fates)
    if WARNING.search(text):
        return {"kind": "delayed", "delayed": named}
    failed = {one: scenario.fates[one][1] for one in named if scenario.fates[one][0] == "failed"}
    if name == "exim":  # says "Unrouteable address" both of domains and of users that do not exist
        failed = {one: None if one in UNROUTEABLE else reason for one, reason in failed.items()}
    if name == "courier":  # knows no null MX: no address, no domain
        failed = {one: "hostunknown" if reason == "notaccept" else reason for one, reason in failed.items()}
    if failed:
        return {"kind": "bounce", "failed": failed}
    return {"kind": "success", "delivered": named}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of servers, with commas between")
    args = parser.parse_args()
    chosen = {name: server.packages for name, server in SERVERS.items()} | {"dovecot": DOVECOT}
    TARGET.mkdir(parents=True, exist_ok=True)
    file = TARGET / "labels.json"
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    for name in args.only.split(",") if args.only else chosen:
        print(name, flush=True)
        for path in TARGET.glob(f"{name}-*.eml"):
            path.unlink()
        old = [label for label in old if label["server"] != name] + make(name, chosen[name])
    rows = sorted(old, key=lambda label: str(label["file"]))
    file.write_text("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
