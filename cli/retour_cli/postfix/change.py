"""Change: writes edits with postconf(1) after a backup, and takes them back.

What was there before, and what was written, stands in a folder beside main.cf. Where the files are still as they were
left, they are put back octet for octet; else each setting by itself, and what somebody has changed since is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from retour_cli.postfix.instance import Instance
from retour_cli.postfix.lists import split_list
from retour_cli.postfix.postconf import PostfixError, Programs, read
from retour_cli.postfix.recipe import Edit
from retour_policy import files
from retour_policy.errors import InputError

FOLDER = "retour-setup"
UNFINISHED = "unfinished"
"""A folder in it: the files as they were before an `apply` that is not done yet."""
RECORD = "made.json"
FILES = ("main.cf", "master.cf")
MAX_RECORD_OCTETS = 1_000_000
_SET = {"main": "-e", "option": "-P", "service": "-M"}
_REMOVE = {"main": "-X", "option": "-PX", "service": "-MX"}


def apply(programs: Programs, instance: Instance, edits: Sequence[Edit]) -> Path:
    """Write the edits; the folder of the backup. Raises `PostfixError`, and then all is as it was before; `OSError`."""
    folder, already, untouched = _begin(instance.config)
    try:
        for edit in edits:
            _write(programs, edit.kind, edit.name, edit.after)
        programs.run("postfix", "check")
    except BaseException:
        _put_back(instance.config, folder / UNFINISHED)
        shutil.rmtree(folder / UNFINISHED)
        raise
    first = {(edit.kind, edit.name): edit for edit in already}
    for edit in edits:
        known = first.get((edit.kind, edit.name), edit)
        first[edit.kind, edit.name] = Edit(edit.kind, edit.name, known.before, edit.after, edit.why)
    _save(instance.config, folder, list(first.values()), untouched)
    shutil.rmtree(folder / UNFINISHED)
    return folder


def revert(programs: Programs, config: Path) -> list[str]:
    """Take back what `apply` has written; what somebody else has changed since, and how it stands now.

    Raises `InputError` if there is nothing to take back, `PostfixError`, `OSError`.
    """
    folder = config / FOLDER
    if (folder / UNFINISHED).is_dir():
        _put_back(config, folder / UNFINISHED)
        shutil.rmtree(folder / UNFINISHED)
        if not (folder / RECORD).exists():
            shutil.rmtree(folder)
            return []
    try:
        record = json.loads(files.read_regular(folder / RECORD, MAX_RECORD_OCTETS))
    except FileNotFoundError:
        raise InputError(f"{folder}: nothing was written by `retour setup --apply`") from None
    if record["digests"] == _digests(config):
        _put_back(config, folder)
        left = []
    else:
        left = list(_take_back_each(programs, [Edit(**edit) for edit in record["edits"]]))
    programs.run("postfix", "check")
    shutil.rmtree(folder)
    return left


def is_running(programs: Programs) -> bool:
    """Whether the instance runs now."""
    try:
        programs.run("postfix", "status")
    except PostfixError:
        return False
    return True


def _begin(config: Path) -> tuple[Path, list[Edit], bool]:
    """The folder with the files as they were before the first time, and as they are now; the edits made since.

    And whether nobody else has changed the files since: only then can they be put back octet for octet. Raises
    `InputError` where one was killed before it was done: what is there now is half of it.
    """
    folder = config / FOLDER
    files.make_folder(folder, 0o700)
    if (folder / UNFINISHED).exists():
        raise InputError(f"{folder}: an earlier --apply was cut off; put back what was there: retour setup --revert")
    already, untouched = [], True
    if (folder / RECORD).exists():
        record = json.loads(files.read_regular(folder / RECORD, MAX_RECORD_OCTETS))
        already, untouched = [Edit(**edit) for edit in record["edits"]], record["digests"] == _digests(config)
    else:
        _copy(config, folder)
    draft = folder / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    files.make_folder(draft, 0o700)
    _copy(config, draft)
    draft.rename(folder / UNFINISHED)
    files.sync_folder(folder)
    return folder, already, untouched


def _copy(config: Path, folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
        files.write_new(folder / name, (config / name).read_bytes(), like=config / name)


def _put_back(config: Path, folder: Path) -> None:
    for name in FILES:
        fresh = config / f"{name}.retour"
        fresh.unlink(missing_ok=True)
        files.write_new(fresh, (folder / name).read_bytes(), like=folder / name)
        fresh.replace(config / name)
    files.sync_folder(config)


def _save(config: Path, folder: Path, edits: Sequence[Edit], untouched: bool) -> None:
    digests = _digests(config) if untouched else None
    text = json.dumps({"digests": digests, "edits": [asdict(edit) for edit in edits]}, indent=1)
    fresh = folder / f"{RECORD}.new"
    fresh.unlink(missing_ok=True)
    files.write_new(fresh, text.encode())
    fresh.replace(folder / RECORD)
    files.sync_folder(folder)


def _digests(config: Path) -> dict[str, str]:
    return {name: hashlib.sha256((config / name).read_bytes()).hexdigest() for name in FILES}


def _take_back_each(programs: Programs, edits: Sequence[Edit]) -> Iterator[str]:
    instance = read(programs)
    for edit in reversed(edits):
        now = _now(instance, edit)
        if now is None or now == edit.before:
            continue
        was = edit.before
        if now != edit.after:
            was = _without_ours(now, edit)
            yield f"{edit.name} was changed since: {now!r} is now {was!r}; before Retour it was {edit.before!r}"
        if was is None:
            programs.run("postconf", _REMOVE[edit.kind], edit.name)
        else:
            _write(programs, edit.kind, edit.name, was)


def _now(instance: Instance, edit: Edit) -> str | None:
    if edit.kind == "main":
        return instance.main.get(edit.name)
    name, kind, *option = edit.name.rsplit("/", 2 if edit.kind == "option" else 1)
    service = instance.service(name, kind)
    if service is None or not option:
        return edit.after if service else None
    return service.options.get(option[0])


def _without_ours(now: str, edit: Edit) -> str | None:
    """The list that somebody has changed, without the elements that we had added to it."""
    before = split_list(edit.before or "")
    ours = [element for element in split_list(edit.after) if element not in before]
    return ", ".join(element for element in split_list(now) if element not in ours) or edit.before


def _write(programs: Programs, kind: str, name: str, value: str) -> None:
    programs.run("postconf", _SET[kind], f"{name}={value}")


def is_root() -> bool:
    """Whether this process may change Postfix at all."""
    return os.geteuid() == 0
