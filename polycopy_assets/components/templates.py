"""A component's values as YAML has them: templates rendered, and texts left texts.

Dagster renders each string of a component as a template, and then makes a Python value of the
result: of `"0x…"` a number, of `"5"` too. Here the result stays a text.
"""

import re

import dagster as dg

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.text import quoted

Value = str | bool | int | float

_MARK = "text: "
"""With it in front, a text is no Python value."""


def as_text(context: dg.ResolutionContext, given: str) -> str:
    """`given`, rendered; raises ConfigurationError if it is a template of nothing."""
    if given and context.resolve_value(given, as_type=object) is None:
        raise ConfigurationError(f"{quoted(given)} is nothing: is the variable set?")
    return context.resolve_value(_MARK + given, as_type=str).removeprefix(_MARK)


def as_texts(context: dg.ResolutionContext, given: str | list[str | int]) -> list[str | int]:
    """A list, its strings rendered; or one string with commas or white space in between."""
    if isinstance(given, str):
        return [text for text in re.split(r"[\s,]+", as_text(context, given)) if text]
    return [as_text(context, each) if isinstance(each, str) else each for each in given]


def as_values(context: dg.ResolutionContext, given: dict[str, Value]) -> dict[str, Value]:
    """The same for what has names; numbers stay what they are."""
    return {
        name: as_text(context, value) if isinstance(value, str) else value
        for name, value in given.items()
    }
