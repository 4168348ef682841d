"""An LMTP server for comparison: aiosmtpd on uvloop, which throws the mail away and answers 250.

discard_lmtp.py SOCKET
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop
from aiosmtpd.lmtp import LMTP


class Discard:
    """Takes everything."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """A message."""
        return "250 2.0.0 recorded"


async def main() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(lambda: LMTP(Discard()), sys.argv[1])
    await asyncio.Event().wait()


uvloop.run(main())
