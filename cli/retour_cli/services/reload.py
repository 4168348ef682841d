"""Reload: reads the configuration of a running service again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from retour_cli.context import Context
from retour_cli.services.condition import Condition
from retour_cli.services.restart import kept_until_restart
from retour_cli.services.start import log_addresses
from retour_policy import files
from retour_policy.config import load
from retour_policy.config.model import Config
from retour_policy.errors import ConfigError, Problem

_one_at_a_time = threading.Lock()
log = structlog.get_logger()


def reload_aside(context: Context, condition: Condition, adopt: Callable[[Config], None]) -> None:
    """`reload` in a thread of its own: it can wait seconds for the store, and its caller must not."""
    threading.Thread(target=reload, args=(context, condition, adopt), name="reload", daemon=True).start()


def reload(context: Context, condition: Condition, adopt: Callable[[Config], None]) -> None:
    """Read the configuration again; a bad one is logged and changes nothing.

    Signals can come faster than this ends. One at a time, so that the last one to adopt has read the newest file.
    """
    with _one_at_a_time:
        condition.reloading()
        try:
            _reload(context, condition, adopt)
        except ConfigError as error:
            for problem in error.problems:
                log.error("configuration refused, the old one stays in force", problem=str(problem))
            condition.kept(str(error.problems[0]))
        except Exception as error:
            # else no later signal would be handled
            log.exception("reload failed, the old configuration stays in force")
            condition.kept(str(error) or repr(error))


def _reload(context: Context, condition: Condition, adopt: Callable[[Config], None]) -> None:
    digests = {str(context.path.absolute()): files.digest(context.path)}  # before it is read: it may change just then
    config = load.load(context.path)
    ring = load.load_keyring(context.path, config)
    if ring.address_secret != context.ring.address_secret:
        text = f"{ring.path} is another key ring than the one in use; its addresses would not be found in the database"
        raise ConfigError(Problem(str(context.path), "tokens.keyring", text))
    for named in (config.lmtpd.rules, config.web.logo if config.web else None):
        if named:
            digests[str(named)] = files.digest(named)
    adopt(config)
    log_addresses(context, config)
    log.info("configuration reloaded", streams=len(config.stream))
    until_restart = kept_until_restart(context.config, config)
    for key in until_restart:
        log.warning("change takes effect at the next start only", key=key)
    condition.took(digests, until_restart)
