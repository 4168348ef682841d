"""Load: sends messages through the Postfix of this host, as a client does that tries again what it hears 4xx of.

Run inside the system on trial: load.py FOLDER, until FOLDER/stop is there. FOLDER/accepted always has how many messages
were accepted so far, FOLDER/retried how often one was not at once. FOLDER/done appears at the end.
"""

from __future__ import annotations

import smtplib
import sys
import time
from pathlib import Path

PAUSE_S = 0.05  # between messages
RETRY_S = 0.5


def send(number: int, folder: Path) -> None:
    """Send one message; try again until it is accepted."""
    text = f"From: news@example.com\r\nTo: load{number}@good.example\r\nSubject: load {number}\r\n\r\nHello.\r\n"
    while True:
        try:
            with smtplib.SMTP("127.0.0.1", 25, timeout=120) as client:
                client.sendmail("news@example.com", [f"load{number}@good.example"], text)
            return
        except (smtplib.SMTPException, OSError) as error:
            with (folder / "retried").open("a") as file:
                print(number, error, file=file)
            time.sleep(RETRY_S)


def main(folder: Path) -> None:
    """Send one after the other."""
    number = 0
    while not (folder / "stop").exists():
        send(number, folder)
        number += 1
        (folder / "accepted").write_text(f"{number}\n")
        time.sleep(PAUSE_S)
    (folder / "done").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
