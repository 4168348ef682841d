"""Scenarios: what is sent through every server, and what its reports must say."""

from __future__ import annotations

from dataclasses import dataclass, field

REMOTE = "@remote.example"


@dataclass(frozen=True)
class Scenario:
    """One message; its envelope sender is the scenario's name at origin.example."""

    name: str
    fates: dict[str, tuple[str, str | None]]
    """What becomes of each recipient in the end: action, and reason where it failed."""
    notify: str = ""
    """Value of NOTIFY (RFC 3461), "" for none."""
    size: int = 300
    waits: bool = False
    """The server warns of a delay first."""
    subject: str = "Monthly news"
    header: dict[str, str] = field(default_factory=dict)


def remote(name: str, reason: str | None, waits: bool = False, action: str = "failed") -> Scenario:
    """One recipient at remote.example, whose local part makes the other side refuse."""
    return Scenario(name, {name + REMOTE: (action, reason)}, waits=waits)


SCENARIOS = (
    remote("unknown", "userunknown"),
    remote("nobody", "userunknown"),
    remote("full", "mailboxfull"),
    remote("relay", "norelaying"),
    remote("disabled", "suspend"),
    remote("moved", "hasmoved"),
    remote("long", "userunknown"),
    remote("spam", "spamdetected"),
    remote("virus", "virusdetected"),
    remote("big", "emailtoolarge"),
    remote("dmarc", "authfailure"),
    Scenario("gone", {"user@gone.example": ("failed", "hostunknown")}),
    Scenario("nullmx", {"user@nullmx.example": ("failed", "notaccept")}),
    Scenario("nouser", {"nouser@home.example": ("failed", "userunknown")}),
    Scenario(
        "mixed",
        {
            "unknown@remote.example": ("failed", "userunknown"),
            "full@remote.example": ("failed", "mailboxfull"),
            "ok@remote.example": ("delivered", None),
        },
    ),
    Scenario(
        "many",
        {
            "unknown@remote.example": ("failed", "userunknown"),
            "disabled@remote.example": ("failed", "suspend"),
            "user@gone.example": ("failed", "hostunknown"),
            "relay@remote.example": ("failed", "norelaying"),
        },
        subject="=?utf-8?Q?Gr=C3=BC=C3=9Fe?= an alle",
    ),
    Scenario("utf8", {"ünknown@remote.example": ("failed", "userunknown")}),
    Scenario("grey", {"grey@remote.example": ("failed", None)}, waits=True),
    Scenario("quota", {"quota@remote.example": ("failed", None)}, waits=True),
    Scenario("later", {"later@remote.example": ("failed", None)}, waits=True),
    Scenario("slow", {"slow@remote.example": ("failed", None)}, waits=True),
    Scenario("refused", {"user@refused.example": ("failed", None)}, waits=True),
    Scenario("silent", {"user@silent.example": ("failed", None)}, waits=True),
    Scenario("broken", {"user@broken.example": ("failed", None)}, waits=True),
    Scenario(
        "waiting",
        {"grey@remote.example": ("failed", None), "user@refused.example": ("failed", None)},
        waits=True,
    ),
    Scenario("success", {"ok@remote.example": ("relayed", None)}, notify="SUCCESS,FAILURE,DELAY"),
    Scenario(
        "success2",
        {"ok@remote.example": ("relayed", None), "fine@remote.example": ("relayed", None)},
        notify="SUCCESS",
    ),
    Scenario("local", {"alice@home.example": ("delivered", None)}, notify="SUCCESS,FAILURE"),
    Scenario(
        "local2",
        {"alice@home.example": ("delivered", None), "bob@home.example": ("delivered", None)},
        notify="SUCCESS",
    ),
    Scenario("team", {"team@home.example": ("delivered", None)}, notify="SUCCESS"),
    Scenario(
        "both",
        {"alice@home.example": ("delivered", None), "ok@remote.example": ("relayed", None)},
        notify="SUCCESS",
    ),
)


def message(scenario: Scenario) -> bytes:
    """The message that is sent."""
    header = {
        "From": f"Newsletter <{scenario.name}@origin.example>",
        "To": ", ".join(scenario.fates) if scenario.name != "utf8" else "undisclosed-recipients:;",
        "Subject": scenario.subject,
        "Message-ID": f"<{scenario.name}.1@origin.example>",
        "Date": "Mon, 02 Mar 2026 10:00:00 +0000",
        "Retour-Ref": f"ref-{scenario.name}",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=us-ascii",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in header.items())
    line = "This is the news that you have asked for.\r\n"
    return (head + "\r\n" + line * (scenario.size // len(line))).encode()
