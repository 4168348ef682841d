"""Servers: how each mail server of the fixtures is configured, started and given a message."""

from __future__ import annotations

import os
import smtplib
import subprocess
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailservers.scenarios import Scenario, message

ALIASES = "team: alice, bob\nroot: alice\npostmaster: alice\n"


@dataclass(frozen=True)
class Server:
    """One server: the Debian packages, how it starts, and how it takes a message."""

    packages: str
    start: Callable[[], None]
    send: Callable[[Scenario], None]
    nudge: str = ""
    """A command that makes it try its queue again."""
    patience: float = 40.0
    """Seconds to wait for its last report."""
    without: frozenset[str] = frozenset()
    """Scenarios that it cannot play: nullmailer sends a message to all recipients or to none."""


def write(path: str, text: str) -> None:
    """Writes a configuration file, its common indent taken off."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")


def run(command: str, stdin: bytes = b"") -> None:
    """Runs a shell command; what it complains of is shown."""
    done = subprocess.run(command, shell=True, input=stdin, capture_output=True, check=False)
    if done.returncode:
        print(
            f"  {command.split()[0]}: exit {done.returncode} {done.stderr[-400:].decode(errors='replace')}",
            flush=True,
        )


def smtp(scenario: Scenario) -> None:
    """Hands a message over SMTP, with delivery notification and SMTPUTF8 where the server offers them."""
    wide = not "".join(scenario.fates).isascii()
    deadline = time.monotonic() + 20
    while True:
        try:
            client = smtplib.SMTP("127.0.0.1", 25, local_hostname="client.origin.example", timeout=10)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    with client:
        client.ehlo()
        dsn = client.has_extn("dsn")
        if wide and not client.has_extn("smtputf8"):
            return
        if scenario.notify and not dsn:
            return
        options = ["SMTPUTF8", "BODY=8BITMIME"] if wide else []
        if dsn:
            options += ["RET=HDRS", f"ENVID=env-{scenario.name}"]
        per = [f"NOTIFY={scenario.notify}"] if scenario.notify and dsn else []
        client.mail(f"{scenario.name}@origin.example", options)
        taken = [client.rcpt(name, per)[0] for name in scenario.fates]
        if any(code < 300 for code in taken):
            client.data(message(scenario))


def command(program: str) -> Callable[[Scenario], None]:
    """Hands a message to a sendmail(1) command."""

    def send(scenario: Scenario) -> None:
        if scenario.notify or scenario.name == "utf8":
            return
        names = " ".join(scenario.fates)
        run(f"{program} -f {scenario.name}@origin.example {names}", message(scenario).replace(b"\r\n", b"\n"))

    return send


def start_postfix() -> None:
    write("/etc/aliases", ALIASES)
    write(
        "/etc/postfix/main.cf",
        """
        compatibility_level = 3.6
        myhostname = mail.home.example
        mydestination = home.example
        inet_interfaces = 127.0.0.1
        inet_protocols = ipv4
        alias_maps = hash:/etc/aliases
        local_recipient_maps =
        smtputf8_enable = yes
        delay_warning_time = 1s
        confirm_delay_cleared = yes
        maximal_queue_lifetime = 9s
        bounce_queue_lifetime = 9s
        minimal_backoff_time = 1s
        maximal_backoff_time = 2s
        queue_run_delay = 1s
        smtp_connect_timeout = 2s
        smtp_helo_timeout = 2s
        smtpd_relay_restrictions = permit_mynetworks, reject
        maillog_file = /var/log/postfix.log
        """,
    )
    run("sed -i 's/^\\([a-z].*unix.*\\) y \\(.*\\)/\\1 n \\2/' /etc/postfix/master.cf")
    run(
        "grep -q ^postlog /etc/postfix/master.cf || "
        "echo 'postlog unix-dgram n - n - 1 postlogd' >> /etc/postfix/master.cf"
    )
    run("newaliases; postfix start")


EXIM = """
        primary_hostname = mail.home.example
        local_interfaces = 127.0.0.1
        tls_advertise_hosts =
        dsn_advertise_hosts = *
        smtputf8_advertise_hosts = *
        delay_warning = 1s
        delay_warning_condition = yes
        acl_smtp_rcpt = accept
        acl_smtp_data = accept
        keep_environment =
        never_users =
        begin routers
        aliases:
          driver = redirect
          domains = home.example
          data = ${lookup{$local_part}lsearch{/etc/aliases}}
          qualify_domain = home.example
        local:
          driver = accept
          domains = home.example
          check_local_user
          transport = local
        remote:
          driver = dnslookup
          domains = ! home.example
          self = send
          transport = smtp
          no_more
        begin transports
        smtp:
          driver = smtp
          connect_timeout = 2s
          command_timeout = 2s
        local:
          driver = appendfile
          file = /var/mail/$local_part.mbox
          user = mail
          group = mail
        begin retry
        * * F,8s,1s
        """


def start_exim() -> None:
    write("/etc/aliases", ALIASES)
    write("/etc/exim4/exim4.conf", EXIM)
    run("exim4 -bd -q2s")


def start_sendmail() -> None:
    write("/etc/aliases", ALIASES + "alice: /dev/null\nbob: /dev/null\n")
    write("/etc/mail/local-host-names", "home.example\n")
    write("/fixtures/keep", "#!/bin/sh\ncat > /dev/null\n")
    run("chmod 755 /fixtures/keep")
    write(
        "/etc/mail/sendmail.mc",
        """
        divert(0)dnl
        include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
        OSTYPE(`debian')dnl
        DOMAIN(`debian-mta')dnl
        define(`confDOMAIN_NAME', `mail.home.example')dnl
        define(`confTO_QUEUEWARN', `1s')dnl
        define(`confTO_QUEUERETURN', `12s')dnl
        define(`confTO_CONNECT', `2s')dnl
        define(`confTO_ICONNECT', `2s')dnl
        define(`confTO_INITIAL', `2s')dnl
        define(`confMIN_QUEUE_AGE', `1s')dnl
        define(`confDONT_BLAME_SENDMAIL', `AssumeSafeChown,GroupWritableDirPathSafe')dnl
        define(`LOCAL_MAILER_PATH', `/fixtures/keep')dnl
        define(`LOCAL_MAILER_ARGS', `keep')dnl
        define(`LOCAL_MAILER_FLAGS', `lsDFMAw5:/|@qSPfhn9')dnl
        FEATURE(`use_cw_file')dnl
        FEATURE(`nocanonify')dnl
        FEATURE(`promiscuous_relay')dnl
        FEATURE(`accept_unresolvable_domains')dnl
        DAEMON_OPTIONS(`Family=inet, Name=MTA, Port=smtp, Addr=127.0.0.1')dnl
        MAILER(`local')dnl
        MAILER(`smtp')dnl
        """,
    )
    run("cd /etc/mail && m4 sendmail.mc > sendmail.cf && newaliases")
    run(
        "mkdir -p /var/run/sendmail/mta /var/spool/mqueue; chmod 700 /var/spool/mqueue; /usr/sbin/sendmail-mta -bd -q1s"
    )


def start_opensmtpd() -> None:
    write("/etc/aliases", ALIASES)
    write("/etc/mailname", "mail.home.example\n")
    write(
        "/etc/smtpd.conf",
        """
        table aliases file:/etc/aliases
        bounce warn-interval 1s
        queue ttl 25s
        listen on 127.0.0.1 hostname mail.home.example
        action "local" maildir alias <aliases>
        action "out" relay helo mail.home.example
        match from any for domain home.example action "local"
        match from any for any action "out"
        """,
    )
    run("smtpd")


def start_dma() -> None:
    write("/etc/aliases", ALIASES)
    write("/etc/mailname", "mail.home.example\n")
    write("/etc/dma/dma.conf", "MAILNAME mail.home.example\nALIASES /etc/aliases\n")
    write("/etc/hostname", "mail.home.example\n")


def start_nullmailer() -> None:
    write("/etc/mailname", "mail.home.example\n")
    write("/etc/nullmailer/me", "mail.home.example\n")
    write("/etc/nullmailer/remotes", "mx.remote.example smtp\n")
    write("/etc/nullmailer/pausetime", "1\n")
    write("/etc/nullmailer/maxpause", "1\n")
    write("/etc/nullmailer/queuelifetime", "6\n")
    subprocess.Popen("nullmailer-send", shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_courier() -> None:
    """Fixed routes, because Courier takes a mail exchanger at one of its own addresses for a loop, and all of this
    world's addresses are on one loopback device."""
    hosts = {"remote": 2, "origin": 3, "refused": 4, "silent": 5, "blocked": 6}
    settings = {
        "me": "mail.home.example",
        "locals": "localhost\nhome.example",
        "dsnfrom": "Courier mail server <MAILER-DAEMON@mail.home.example>",
        "esmtproutes": "\n".join(f"{name}.example:[192.0.2.{number}]" for name, number in hosts.items()),
        "queuetime": "12s",
        "warntime": "3s",
        "retryalpha": "2s",
        "retrybeta": "2s",
        "retrygamma": "2s",
        "retrymaxdelta": "1",
        "esmtptimeoutconnect": "2s",
        "esmtptimeouthelo": "2s",
        "esmtptimeout": "2s",
        "aliases/system": "postmaster: alice\nteam: alice, bob",
    }
    for name, value in settings.items():
        write(f"/etc/courier/{name}", value + "\n")
    run("mkdir -p /run/courier/authdaemon; chown -R courier:courier /run/courier; makealiases")
    run("authdaemond start; courierfilter start; courier start")


def courier(scenario: Scenario) -> None:
    """Hands a message to Courier's sendmail(1), which takes the notification that is wanted as an option."""
    names = " ".join(scenario.fates)
    if names.isascii():
        notify = f"-N {scenario.notify.lower().replace('failure', 'fail')} " if scenario.notify else ""
        text = message(scenario).replace(b"\r\n", b"\n")
        run(f"/usr/sbin/sendmail -f {scenario.name}@origin.example {notify}{names}", text)


SERVERS = {
    "postfix": Server("postfix", start_postfix, smtp, "postqueue -f"),
    "exim": Server("exim4-daemon-heavy", start_exim, smtp, "exim4 -qff"),
    "sendmail": Server("sendmail-bin sendmail-cf m4", start_sendmail, smtp, "/usr/sbin/sendmail-mta -q"),
    "opensmtpd": Server("opensmtpd", start_opensmtpd, smtp, "smtpctl schedule all"),
    "courier": Server("courier-mta", start_courier, courier, "courier flush", 60),
    "dma": Server("dma", start_dma, command("/usr/sbin/dma"), "/usr/sbin/dma -q", 12),
    "nullmailer": Server(
        "nullmailer",
        start_nullmailer,
        command("/usr/sbin/sendmail"),
        "",
        20,
        frozenset({"mixed", "many", "waiting"}),
    ),
}


def users() -> None:
    """Local users alice and bob, and nothing of the outside: names come from the world's own server."""
    for name in ("alice", "bob"):
        run(f"id {name} >/dev/null 2>&1 || useradd -m {name}")
    write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    write("/etc/hosts", "127.0.0.1 localhost mail.home.example mail\n")
    write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    os.environ["LANG"] = "C.UTF-8"
