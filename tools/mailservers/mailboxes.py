"""Mailboxes: what Dovecot answers by itself: holiday notices, refusals, full mailboxes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from mailservers.servers import run, write

VACATION = 'require ["vacation"];\nvacation :days 1 {options} "{text}";\n'
REJECT = 'require ["{verb}"];\n{verb} "{text}";\n'


@dataclass(frozen=True)
class Mailbox:
    """One user, the answer of whose mailbox is kept under `stem`."""

    stem: str
    sieve: str
    quota: str = "1G"


def vacation(stem: str, text: str, options: str = "") -> Mailbox:
    """A mailbox that answers with a holiday notice."""
    return Mailbox(stem, VACATION.format(text=text, options=options))


MAILBOXES = (
    vacation("autoreply-plain", "I am on holiday until Monday."),
    vacation("autoreply-subject", "Back on the 5th.", ':subject "Out of the office"'),
    vacation("autoreply-german", "Ich bin bis Montag im Urlaub.", ':subject "Abwesenheitsnotiz"'),
    vacation("autoreply-french", "Je suis absent jusqu'au 15 mars.", ':subject "Absence du bureau"'),
    vacation("autoreply-spanish", "Estoy de vacaciones hasta el lunes.", ':subject "Respuesta automática"'),
    vacation("autoreply-japanese", "休暇中です。", ':subject "自動返信"'),
    vacation("autoreply-left", "Ann no longer works at home.example. Please write to bob@home.example instead."),
    vacation("autoreply-closed", "This address is no longer in use and will not be read."),
    vacation(
        "autoreply-failure",
        "Delivery to me is delayed: user unknown errors, mailbox full, could not be delivered ...",
    ),
    Mailbox("mdn-reject", REJECT.format(verb="reject", text="I do not want this mail.")),
    Mailbox("mdn-full", REJECT.format(verb="reject", text="Mailbox full, user unknown.")),
    Mailbox("bounce-quota", "keep;\n", "1B"),
    Mailbox("mdn-ereject", REJECT.format(verb="ereject", text="550 5.7.1 Not wanted")),
)

CONFIG = """
mail_location = maildir:~/Maildir
mail_plugins = quota
log_path = /dev/stderr
submission_host = 192.0.2.2:25
hostname = mail.home.example
postmaster_address = postmaster@home.example
ssl = no
protocols =
protocol lda {
  mail_plugins = quota sieve
}
plugin {
  sieve = file:~/.dovecot.sieve
  quota = maildir:User quota
}
"""


def label(stem: str) -> dict[str, object]:
    """What the answer of a mailbox must be read as."""
    kind = stem.partition("-")[0]
    if kind == "bounce":
        return {"kind": kind, "failed": {f"{stem}@home.example": "mailboxfull"}}
    if kind == "autoreply":
        return {"kind": kind, "reason": "left" if stem.endswith(("left", "closed")) else "vacation"}
    return {"kind": kind}


def message(stem: str) -> bytes:
    """The message that every mailbox gets; its sender keeps the answer under `stem`."""
    return (
        f"From: Newsletter <{stem}@origin.example>\nTo: {stem}@home.example\nSubject: Monthly news\n"
        f"Message-ID: <{stem}.1@origin.example>\nDate: Mon, 02 Mar 2026 10:00:00 +0000\n\nThe news.\n"
    ).encode()


def answers() -> None:
    """Delivers to each mailbox once; what it answers goes to the world's mail server."""
    write("/etc/dovecot/dovecot.conf", CONFIG)
    for box in MAILBOXES:
        run(f"useradd -m {box.stem}")
        home = f"/home/{box.stem}"
        write(f"{home}/.dovecot.sieve", box.sieve)
        run(f"chown -R {box.stem}: {home}")
        command = [
            "/usr/lib/dovecot/dovecot-lda",
            "-a",
            f"{box.stem}@home.example",
            "-f",
            f"{box.stem}@origin.example",
        ]
        command += ["-o", f"plugin/quota_rule=*:storage={box.quota}"]
        environment = {"HOME": home, "USER": box.stem, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            command,
            input=message(box.stem),
            env=environment,
            user=box.stem,
            group=box.stem,
            capture_output=True,
            check=False,
        )
        if done.returncode not in (0, 77):
            print(
                f"  {box.stem}: exit {done.returncode} {done.stderr[-300:].decode(errors='replace')}",
                flush=True,
            )
