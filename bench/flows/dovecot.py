"""Dovecot: a private dovecot-lmtpd that stores mail in Maildirs, for comparison."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.process import Child

PROGRAM = "/usr/sbin/dovecot"
CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = lmtp
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
mail_location = maildir:{folder}/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
auth_mechanisms = plain
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u allow_all_users=yes
}}
service lmtp {{
  process_min_avail = 4
  unix_listener {folder}/lmtp.sock {{
    mode = 0666
  }}
}}
"""


@contextmanager
def dovecot(folder: Path) -> Iterator[tuple[Child, Path]]:
    """Run it; the child and its socket."""
    folder.mkdir()
    (folder / "mail").mkdir()
    shutil.chown(folder / "mail", "nobody", "nogroup")
    config = folder / "dovecot.conf"
    config.write_text(CONFIG.format(folder=folder))
    argv = [PROGRAM, "-F", "-c", config]
    with Child(argv, folder=folder, name="dovecot", env=os.environ | {"PATH": "/usr/sbin:/usr/bin"}) as child:
        child.wait_answers(folder / "lmtp.sock")
        yield child, folder / "lmtp.sock"
