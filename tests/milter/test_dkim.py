"""DKIM: what arrives of a stamped message verifies, and the signature covers every field that was stamped."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

import dkim
import pytest

from lab.process import Child, workspace
from lab.site import Site
from lab.wait import wait_until
from retour_milter.list_headers import FIELDS
from retour_policy.config.values import REFERENCE

EXAMPLES = Path(__file__).parents[2] / "postfix-examples/dkim"
STREAMS = """
[[stream]]
name = "news"
match = { sender = ["news@example.com"] }
envelope_from = "b-%@bounces.example.com"
unsubscribe = { https = "https://u.example.com", mailto = true, post = true }
list_id = "Example news <news.example.com>"
feedback_id = "{stream}:mail:example"
cfbl = true
"""
STAMPED = [name.lower() for name in (*FIELDS, REFERENCE)]
RSPAMD = """
options {{
  pidfile = "{here}/rspamd.pid";
  tempdir = "{here}";
  filters = "dkim";
  disable_hyperscan = true;
  url_tld = "{here}/tld";
  dns {{ nameserver = ["127.0.0.1:9"]; }}
}}
logging {{ type = "console"; level = "notice"; }}
modules {{ path = "/usr/share/rspamd/plugins/dkim_signing.lua"; }}
worker "rspamd_proxy" {{
  bind_socket = "{socket} mode=0666";
  milter = yes;
  count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
dkim {{
{fields}
}}
dkim_signing {{
{recipe}
}}
"""


class Signer:
    """A signer with its recipe from `postfix-examples/dkim/`; paths, and nothing else, are put in."""

    def __init__(self, here: Path, sockets: Path) -> None:
        sockets.mkdir(mode=0o755)
        self.here = here
        self.socket, self.key = sockets / "signer.sock", here / "retour.private"
        words = ["openssl", "genrsa", "-traditional", "-out", str(self.key), "2048"]
        subprocess.run(words, check=True, capture_output=True)
        words = ["openssl", "rsa", "-in", str(self.key), "-pubout", "-outform", "DER"]
        public = subprocess.run(words, check=True, capture_output=True).stdout
        self.record = b"v=DKIM1; k=rsa; p=" + _base64(public)

    def recipe(self, name: str, was_key: str, was_socket: str = "") -> str:
        text = (EXAMPLES / name).read_text()
        assert was_key in text and was_socket in text
        return text.replace(was_key or "\0", str(self.key)).replace(was_socket or "\0", str(self.socket))

    def config(self, text: str) -> Path:
        path = self.here / "signer.conf"
        path.write_text(text)
        return path

    def opendkim(self) -> list[str]:
        socket = "/var/spool/postfix/opendkim/opendkim.sock"
        text = self.recipe("opendkim.conf", "/etc/dkimkeys/retour.private", socket)
        return ["opendkim", "-f", "-x", str(self.config(f"{text}UMask 000\nRequireSafeKeys no\n"))]

    def rspamd(self) -> list[str]:
        recipe = self.recipe("rspamd-dkim_signing.conf", "/var/lib/rspamd/dkim/retour.key")
        fields = self.recipe("rspamd-dkim.conf", "")
        (self.here / "tld").write_text("com\nnet\n")  # the whole list takes minutes to compile
        text = RSPAMD.format(here=self.here, socket=self.socket, recipe=recipe, fields=fields)
        return ["rspamd", "-f", "-i", "-c", str(self.config(text))]

    def dkimpy(self) -> list[str]:
        socket = "/var/spool/postfix/dkimpy-milter/dkimpy-milter.sock"
        text = self.recipe("dkimpy-milter.conf", "/etc/dkimkeys/retour.private", socket)
        rest = f"PidFile {self.here}/pid\nUserID root\nUMask 000\nSyslog no\n"
        return [shutil.which("dkimpy-milter") or "dkimpy-milter", str(self.config(text + rest))]


def _base64(octets: bytes) -> bytes:
    return subprocess.run(["base64", "-w0"], input=octets, capture_output=True, check=True).stdout


PROGRAMS: dict[str, Callable[[Signer], list[str]]] = {
    "opendkim": Signer.opendkim,
    "rspamd": Signer.rspamd,
    "dkimpy-milter": Signer.dkimpy,
}


@pytest.fixture(scope="module", params=PROGRAMS)
def signed(request: pytest.FixtureRequest) -> Iterator[tuple[Site, Signer]]:
    """Retour and the signer behind it on a private Postfix."""
    settings = {"feedback": '"fbl@bounces.example.com"'}
    milters = "unix:retour/milter.sock, unix:signer/signer.sock"
    with (
        workspace() as folder,
        Site(folder, STREAMS, settings=settings, main={"smtpd_milters": milters}) as site,
    ):
        signer = Signer(folder, site.postfix.queue_directory / "signer")
        with Child(PROGRAMS[request.param](signer), folder=folder, name="signer"):
            wait_until(signer.socket.exists, what="the signer's socket")
            signer.socket.chmod(0o666)
            yield site, signer


def arrived(site: Site, *to: str) -> bytes:
    count = len(site.destination.arrived)
    headers = {"From": "News <news@example.com>", "Subject": "June letter"}
    assert site.send("news@example.com", to, headers=headers).accepted
    wait_until(lambda: len(site.destination.arrived) > count, what="the message")
    return bytes(site.destination.arrived[-1].content)


def verifies(message: bytes, signer: Signer) -> bool:
    """As a receiver does it, with our key for the only record in the DNS."""
    records = {b"retour._domainkey.example.com.": signer.record}
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: records.get(name)))


def covered(message: bytes) -> Counter[str]:
    """How often each field stands in the signature's `h=`."""
    fields = message_from_bytes(message)["DKIM-Signature"]
    tags = dict(part.strip().split("=", 1) for part in fields.split(";") if "=" in part)
    return Counter(name.strip().lower() for name in tags["h"].split(":"))


def test_the_signature_verifies_and_covers_each_stamped_field_once_more(signed: tuple[Site, Signer]) -> None:
    """RFC 8058 section 4: without that the one-click field is invalid. And From cannot be added either."""
    site, signer = signed
    message = arrived(site, "ok+signed@example.net")
    parsed = message_from_bytes(message)
    assert [len(parsed.get_all(name, [])) for name in STAMPED] == [1] * len(STAMPED)
    assert verifies(message, signer)
    count = covered(message)
    assert {name: count[name] for name in (*STAMPED, "from")} == dict.fromkeys((*STAMPED, "from"), 2)


def test_a_field_that_is_added_on_the_way_breaks_it(signed: tuple[Site, Signer]) -> None:
    """Oversigned: another one of any of these names, and nothing verifies any more."""
    site, signer = signed
    message = arrived(site, "ok+added@example.net")
    assert verifies(message, signer)
    assert not [name for name in STAMPED if verifies(f"{name}: forged\r\n".encode() + message, signer)]


def test_what_a_message_with_several_recipients_lacks_cannot_be_added(signed: tuple[Site, Signer]) -> None:
    """It has no one-click field; one that somebody adds is not covered by a valid signature."""
    site, signer = signed
    message = arrived(site, "ok+a@example.net", "ok+b@example.net")
    assert verifies(message, signer) and "List-Unsubscribe-Post" not in message_from_bytes(message)
    forged = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + message
    assert not verifies(forged, signer)
