"""Milter lists: whether Postfix shows Retour what goes out, before it is signed, and what it does without Retour."""

from __future__ import annotations

from collections.abc import Iterator

from retour_cli.doctor.finding import Finding, critical, hint, warning
from retour_cli.postfix import milters
from retour_cli.postfix.instance import Instance, Service
from retour_cli.postfix.lists import in_braces
from retour_cli.postfix.ways import is_out_of_reach, socket_name
from retour_policy.config.model import Config

SETUP = "retour setup --apply"


def find(config: Config, instance: Instance) -> Iterator[Finding]:
    """What is wrong with the lists of milters."""
    if not config.stream:
        return
    ours = socket_name(config.milter.socket, instance.queue, "milter")
    yield from _reach(ours, instance)
    lists: list[tuple[str, Service | None]] = [("smtpd_milters", None), ("non_smtpd_milters", None)]
    lists += [("smtpd_milters", one) for one in instance.running("smtpd") if "smtpd_milters" in one.options]
    for name, service in lists:
        yield from _list(name, service, ours, instance)
    for service in instance.running("smtpd"):
        yield from _served_twice(service, ours, instance)


def _reach(ours: str, instance: Instance) -> Iterator[Finding]:
    if is_out_of_reach(ours, instance, ("smtpd", "cleanup")):
        mend = f'socket = "unix:{instance.queue}/retour/milter.sock"'
        text = f"Postfix's smtpd is chrooted in {instance.queue}, and cannot reach {ours}: all mail waits"
        yield critical("milter-outside-chroot", text, mend, key="milter.socket")


def _list(name: str, service: Service | None, ours: str, instance: Instance) -> Iterator[Finding]:
    elements = instance.elements(name, service)
    where = f"{name} of {service.path}" if service else name
    if not milters.contains(elements, ours):
        yield from _missing(name, service, instance)
        return
    own = next(number for number, one in enumerate(elements) if milters.target(one) == ours)
    mend = _line(
        name, service, milters.merged(", ".join(e for e in elements if e != elements[own]), elements[own], instance)
    )
    before = [one for one in elements[:own] if milters.signs(one)]
    if before:
        text = f"{where}: {milters.target(before[0])} signs before Retour stamps, so its signature lacks the stamp"
        yield warning("milter-behind-signer", text, mend)
    if milters.is_tcp(ours):
        text = (
            f"{where}: Retour's milter is reached over TCP, which is 8 times slower than a unix socket on the same host"
        )
        yield hint("milter-over-tcp", text, f'socket = "unix:{instance.queue}/retour/milter.sock"', key="milter.socket")
    yield from _action(name, service, elements[own], instance)


def _missing(name: str, service: Service | None, instance: Instance) -> Iterator[Finding]:
    if service is None:
        everywhere = [one for one in instance.running("smtpd") if "smtpd_milters" not in one.options]
        if name == "smtpd_milters" and not everywhere:
            return  # all services have lists of their own
        what = "mail over SMTP" if name == "smtpd_milters" else "mail from sendmail(1)"
        yield warning("milter-missing", f"{name}: Retour's milter is not in it, so {what} goes out unstamped", SETUP)
    elif service.options["smtpd_milters"] and not milters.takes_back(service, instance):
        text = f"{service.path} has smtpd_milters of its own, without Retour's: mail through it goes out unstamped"
        yield warning("milter-overridden", text, SETUP)


def _action(name: str, service: Service | None, element: str, instance: Instance) -> Iterator[Finding]:
    """What Postfix does while the milter is away: for all milters, or (in braces) for this one."""
    own = in_braces(element)[1].get("default_action")
    action = own or instance.value("milter_default_action", service)
    if action == "accept":
        mend = "default_action=tempfail" if own else "milter_default_action = tempfail"
        text = f"{name}: while Retour's milter is away, mail goes out unstamped, and its bounces are lost"
        yield warning("milter-may-be-missing", text, mend)
    elif action == "reject":
        mend = "default_action=tempfail" if own else "milter_default_action = tempfail"
        text = f"{name}: while Retour's milter is away, all mail is refused for good"
        yield critical("milter-away-refuses", text, mend)


def _served_twice(service: Service, ours: str, instance: Instance) -> Iterator[Finding]:
    """A content filter hands mail back: there it comes from this host, also what an outsider sent."""
    if not milters.takes_back(service, instance) or milters.sees_no_milters(service, instance):
        return
    if not milters.contains(instance.elements("smtpd_milters", service), ours):
        return
    first = [one for one in instance.running("smtpd") if not milters.takes_back(one, instance)]
    if any(milters.contains(instance.elements("smtpd_milters", one), ours) for one in first):
        text = (
            f"{service.path} takes mail back from a content filter and shows it to Retour again: mail from outside "
            "comes from this host there, and is stamped as yours"
        )
        yield warning("milter-twice", text, f"postconf -P {service.path}/smtpd_milters=")


def _line(name: str, service: Service | None, value: str) -> str:
    return f"postconf -P '{service.path}/{name}={value}'" if service else f"{name} = {value}"
