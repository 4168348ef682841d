"""The demo: Retour does its job on a real Postfix, shown on the terminal and checked line by line.

Exit status: 0 every line held, 1 one did not, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

from lab.process import ChildFailed
from story import homeward, leaving, outside, outward, postmaster
from story.interrupts import Interrupts, shielded
from story.stage import Stage, left_behind, logs, stage
from story.teller import Broken, Teller

WHY_ROOT = "Root is needed because Postfix, even a private one, starts as root and hands its work to the user postfix."
INTERRUPTED = 130  # 128 and the number of SIGINT, as in shells


def main() -> int:
    """Tell the story; the exit status."""
    wanted = _arguments()
    if os.geteuid() != 0:
        return _as_root()
    return shielded(lambda interrupts: _guarded(interrupts, keep=wanted.keep))


def _guarded(interrupts: Interrupts, *, keep: bool) -> int:
    """Run the demo; an error is shown as one line."""
    try:
        return _demonstrate(interrupts, keep=keep)
    except KeyboardInterrupt:
        print("\nInterrupted. All that was started has been stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains again at its end
        return 1
    except (ChildFailed, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Shows Retour at work on a private Postfix; loopback only.")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configuration, database and logs")
    return parser.parse_args()


def _as_root() -> int:
    sudo = shutil.which("sudo")
    if sudo:
        print(f"{WHY_ROOT} This uses sudo.", file=sys.stderr)
        # So that root leaves no files in the source folders.
        os.execv(sudo, [sudo, "env", "PYTHONDONTWRITEBYTECODE=1", sys.executable, *sys.argv])
    print(f"{WHY_ROOT} There is no sudo here: run this as root.", file=sys.stderr)
    return 1


def _demonstrate(interrupts: Interrupts, *, keep: bool) -> int:
    colour = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "NO_COLOR" not in os.environ
    tell = Teller(sys.stdout, colour=colour)
    began = time.monotonic()
    tell.title("Retour: a demonstration")
    tell.say(
        """Retour is the part of a mail server that knows who cannot be reached, and why. Here it does its work on
        a real Postfix, one that is started for this alone, in a temporary folder and on loopback only; a small
        server plays the rest of the world. No service of this machine is touched."""
    )
    tell.say("Every message is real and sent by swaks. Every line marked [ok] was checked before it was printed.")
    with stage(tell, interrupts, keep=keep) as here:
        try:
            _story(here)
        except Broken:
            tell.say("What follows would make no sense without that, so the story ends here.")
        if tell.failed:
            print(logs(here.site.folder), file=sys.stderr)
    _epilogue(here, keep=keep, seconds=time.monotonic() - began)
    return 1 if tell.failed else 0


def _story(here: Stage) -> None:
    outward.prologue(here)
    sender = outward.three_streams(here)
    homeward.refused_at_once(here)
    homeward.comes_back_later(here)
    homeward.forged(here, sender)
    homeward.written_to_again(here)
    homeward.to_postmaster(here)
    postmaster.what_happened(here)
    postmaster.taken_back(here)
    outside.others_are_told(here)
    outside.sent_again(here)
    leaving.people_leave(here)


def _epilogue(here: Stage, *, keep: bool, seconds: float) -> None:
    tell, folder = here.tell, here.site.folder
    tell.title("The end")
    tell.check("Everything was stopped; no process is left.", left_behind(folder), [])
    if keep:
        tell.check(f"The folder is kept: {folder}", folder.is_dir(), True)
    else:
        tell.check(f"{folder} is removed.", folder.exists(), False)
    tell.gap()
    if tell.failed:
        tell.say(
            f"""{tell.failed} of {tell.held + tell.failed} lines did NOT hold. `tools/demo.py --keep` keeps the
            logs, the configuration and the database."""
        )
    else:
        tell.say(f"All {tell.held} lines held: {here.calls} mails by swaks, {seconds:.0f} seconds.")
        tell.say("How to wire Retour into a Postfix of your own: README.md.")


if __name__ == "__main__":
    sys.exit(main())
