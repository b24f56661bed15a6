"""Durations on the command line: `50m`, `20h`, `1h30m`, `90s`."""

import re
from typing import Any

import click

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"([0-9]{1,9})([dhms])")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_MOST = 366 * 86_400


class Duration(click.ParamType):
    """A text such as `50m`, read as whole seconds: at least one, at most a year."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds; a usage error for anything else."""
        if isinstance(value, int):
            return value
        text = str(value)
        seconds = 0
        if _WHOLE.fullmatch(text):
            seconds = sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
        if not 0 < seconds <= _MOST:
            self.fail(f"{text!r} is not a duration such as 50m, 20h or 1h30m", param, ctx)
        return seconds
