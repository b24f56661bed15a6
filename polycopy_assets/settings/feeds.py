"""Which feeds are collected."""

import difflib
from collections.abc import Mapping, Sequence

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.parse import wrong
from polycopy_assets.text import listed, quoted

FEEDS = "POLYCOPY_FEEDS"
DEFAULT_FEEDS = "trades"
KNOWN: Mapping[str, Sequence[str]] = {
    "trades": ("polymarket", "dome"),
    "activity": ("polymarket",),
    "tips": ("polymarket",),
}
"""Every feed, in the order in which people read them, with the sources that serve it.

A test compares it with the feeds themselves.
"""


def parse_feeds(text: str, source: str) -> tuple[str, ...]:
    """The names of the feeds in `text`, separated by commas, in the order of `KNOWN`.

    Raises ConfigurationError for any other name, for one that is there twice, without `trades`, and
    for a feed that `source` does not serve.
    """
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in KNOWN:
            raise ConfigurationError(
                f"{FEEDS}={quoted(text)} is not accepted: {_nearest(name)}; the feeds are"
                f" {listed(KNOWN)}, separated by commas"
            )
        if names.count(name) > 1:
            raise wrong(FEEDS, text, "each feed once")
        if source not in KNOWN[name]:
            raise wrong(FEEDS, text, f"a feed that POLYCOPY_SOURCE={quoted(source)} serves")
    if DEFAULT_FEEDS not in names:
        raise wrong(
            FEEDS,
            text,
            f"{DEFAULT_FEEDS} and what is collected beside it: the comparison with the source's"
            " counts is made from trades",
        )
    return tuple(name for name in KNOWN if name in names)


def _nearest(name: str) -> str:
    found = difflib.get_close_matches(name.lower(), KNOWN, n=1)
    return f"{quoted(name)} is no feed" + (f", did you mean {found[0]}?" if found else "")


WITHOUT = "POLYCOPY_ACTIVITY_WITHOUT"
MAY_BE_LEFT_OUT = (
    "MIGRATION",
    "REWARD",
    "YIELD",
    "MAKER_REBATE",
    "TAKER_REBATE",
    "REFERRAL_REWARD",
    "DEPOSIT",
    "WITHDRAWAL",
)
"""The types of activity that move no shares: without any other, holdings could not be told."""


def parse_without(text: str) -> tuple[str, ...]:
    """The types of activity in `text`, separated by commas, that are not fetched; sorted.

    Raises ConfigurationError for any other word, and for one that is there twice.
    """
    types = [part.strip() for part in text.split(",")] if text.strip() else []
    for kind in types:
        if kind not in MAY_BE_LEFT_OUT or types.count(kind) > 1:
            raise wrong(WITHOUT, text, f"some of {','.join(MAY_BE_LEFT_OUT)}, each once")
    return tuple(sorted(types))
