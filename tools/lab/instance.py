"""The files of a private Postfix: main.cf, master.cf and the table of destinations, written to a folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.example import Example
from lab.installation import Installation

SERVICES = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
{inet}
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
lmtp      unix  -       -       y       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@dataclass(frozen=True)
class Plan:
    """The properties of a private Postfix."""

    folder: Path
    example: Example
    smtp_port: int
    submission_port: int
    hosts: Sequence[str] = ("127.0.0.1",)
    destinations: Mapping[str, str] = field(default_factory=dict)
    inbound: Sequence[str] = ()
    main: Mapping[str, str] = field(default_factory=dict)
    master: str = ""
    smtpd_options: Mapping[str, str] = field(default_factory=dict)
    submission_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The configuration directory, for `-c` and `-C`."""
        return self.folder / "etc"

    @property
    def queue(self) -> Path:
        """The queue directory, which relative socket paths start from."""
        return self.folder / "queue"

    @property
    def log(self) -> Path:
        """The mail log."""
        return self.folder / "mail.log"


def write(plan: Plan, installation: Installation) -> None:
    """Write the instance's files. Raises `PermissionError` if the user postfix cannot enter the folder."""
    plan.folder.mkdir(exist_ok=True)
    _assert_passable(plan.folder)
    for folder in (plan.config, plan.queue):
        folder.mkdir()
    data = plan.folder / "data"
    data.mkdir(mode=0o700)
    shutil.chown(data, "postfix")
    sockets = plan.queue / "retour"
    sockets.mkdir()
    shutil.chown(sockets, group="postfix")
    sockets.chmod(0o2755)
    _write_old(
        plan.config / "destinations",
        "".join(f"{domain} {_route(hop)}\n" for domain, hop in plan.destinations.items()),
    )
    settings = main_cf(plan) | installation.settings
    _write_old(plan.config / "main.cf", "".join(f"{name} = {value}\n" for name, value in settings.items()))
    _write_old(plan.config / "master.cf", master_cf(plan))


def main_cf(plan: Plan) -> dict[str, str]:
    """The recipe's settings, those of a private instance, and the plan's own, later ones first in force."""
    settings = plan.example.main | _private(plan)
    settings["transport_maps"] += f", texthash:{plan.config}/destinations"
    return settings | dict(plan.main)


def master_cf(plan: Plan) -> str:
    """The services, the two listeners, the recipe's and the plan's own lines.

    Those that speak with Retour or the network are chrooted in the queue directory, as Debian has it, so that a
    socket path which only works outside the chroot fails here too.
    """
    submission = {
        "syslog_name": "postfix/submission",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_relay_restrictions": "permit_sasl_authenticated,reject",
    }
    inet = [_listener(host, plan.smtp_port, plan.smtpd_options) for host in plan.hosts]
    inet += [_listener(plan.hosts[0], plan.submission_port, submission | dict(plan.submission_options))]
    return SERVICES.format(inet="\n".join(inet)) + plan.example.master + plan.master


def _private(plan: Plan) -> dict[str, str]:
    return {
        "compatibility_level": "3.6",
        "multi_instance_name": f"postfix-retour-{plan.smtp_port}",
        "queue_directory": str(plan.queue),
        "data_directory": f"{plan.folder}/data",
        "maillog_file": str(plan.log),
        "maillog_file_prefixes": str(plan.folder),
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "myhostname": "mx.example.com",
        "mydestination": "",
        "mynetworks": "127.0.0.1/32",
        "alias_maps": "",
        "local_recipient_maps": "",
        "virtual_mailbox_domains": ", ".join(plan.inbound),
        "default_transport": "error:5.1.2 the lab knows no such domain",
        "smtp_dns_support_level": "disabled",
        "smtp_host_lookup": "native",
        "smtpd_peername_lookup": "no",
        "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": "retour-auth",
        # Tests make many mistakes on purpose; Postfix must not slow its answers down.
        "smtpd_error_sleep_time": "0",
        "smtpd_hard_error_limit": "1000",
        "smtpd_client_event_limit_exceptions": "127.0.0.0/8",
        "in_flow_delay": "0",
        "notify_classes": "",
    }


def _listener(host: str, port: int, options: Mapping[str, str]) -> str:
    lines = [f"{host}:{port} inet n - y - - smtpd"]
    lines += [f"    -o {{ {name} = {value} }}" for name, value in options.items()]
    return "\n".join(lines)


def _route(hop: str) -> str:
    """`127.0.0.1:2525` as an SMTP route without DNS; what names a transport (`discard:`) stays as it is."""
    host, _, port = hop.partition(":")
    return f"smtp:[{host}]:{port}" if port.isdecimal() else hop


def _write_old(path: Path, text: str) -> None:
    """Write a file that looks a minute old: Postfix waits 2 s for a main.cf that was written just now."""
    path.write_text(text)
    minute_ago = time.time() - 60
    os.utime(path, (minute_ago, minute_ago))


def _assert_passable(folder: Path) -> None:
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:
            raise PermissionError(f"{parent}: the user postfix may not pass (o+x is missing); see workspace()")
