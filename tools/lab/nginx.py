"""Nginx: Debian's, with the site of docs/web-server, adapted to temporary paths, a free port and a new certificate."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab.ports import free_port
from lab.process import Child

SITE = Path(__file__).parents[2] / "docs/web-server/nginx.conf"
MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log {folder}/access.log;
    include {folder}/site.conf;
}}
"""


class Nginx(Child):
    """As a context manager, before the service that listens on `socket`."""

    def __init__(self, folder: Path, socket: Path) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
        if program is None:
            raise FileNotFoundError("no nginx here; tools/setup installs it")
        self.port = free_port()
        self.certificate = folder / "cert.pem"
        _certify(self.certificate, folder / "key.pem")
        (folder / "site.conf").write_text(_site(folder, socket, self.port))
        main = folder / "nginx.conf"
        main.write_text(MAIN.format(folder=folder))
        super().__init__([program, "-e", folder / "nginx.error.log", "-c", main], folder=folder, name="nginx")


def _site(folder: Path, socket: Path, port: int) -> str:
    text = SITE.read_text()
    adapted = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "    listen [::]:443 ssl;\n": "",
        "/etc/letsencrypt/live/u.example.com/fullchain.pem": f"{folder}/cert.pem",
        "/etc/letsencrypt/live/u.example.com/privkey.pem": f"{folder}/key.pem",
        "/var/log/nginx/": f"{folder}/",
        "/run/retour-web/web.sock": str(socket),
    }
    for old, new in adapted.items():
        if old not in text:
            raise ValueError(f"{SITE}: no {old!r} any more")
        text = text.replace(old, new)
    return text


def _certify(certificate: Path, key: Path) -> None:
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=u.example.com", "-addext", "subjectAltName=DNS:u.example.com"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*argv, *names, *files], check=True, capture_output=True)
