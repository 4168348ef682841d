"""Workers type: how many processes of a service an option of its command asks for."""

from __future__ import annotations

from typing import Any, Literal

import click

from retour_policy.config.values import check_workers


class WorkersType(click.ParamType[Any]):
    """A number, or "auto"; the same as the configuration takes."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """Raises `click.BadParameter`."""
        try:
            return check_workers(int(value) if str(value).isdecimal() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
