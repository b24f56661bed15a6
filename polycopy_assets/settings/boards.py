"""The boards that are kept every day, who on them is wanted, and where markets are looked up."""

import re
from collections.abc import Mapping

from polycopy_assets.settings.checked import refuse_credentials
from polycopy_assets.settings.parse import is_url, wrong

LEADERBOARD = "POLYCOPY_LEADERBOARD"
WANTED = "POLYCOPY_LEADERBOARD_WANTED"
MARKETS_URL = "POLYCOPY_MARKETS_URL"

DEFAULT_LEADERBOARD = "week/pnl/overall/1000"
MARKETS = "https://gamma-api.polymarket.com"
"""The public base URL of Polymarket's market service."""

WINDOWS = ("day", "week", "month", "all")
SORTS = ("pnl", "volume")
MOST = 10_000
"""A test compares these three with those of the core."""

_BOARD = re.compile(
    rf"({'|'.join(WINDOWS)})/({'|'.join(SORTS)})/([a-z0-9][a-z0-9_-]{{0,39}})/([0-9]{{1,5}})"
)
_EXPECTED = (
    "WINDOW/BY/CATEGORY/TOP[,…], e.g. week/pnl/overall/1000: WINDOW is"
    f" {', '.join(WINDOWS)}; BY is pnl or volume; TOP is from 1 to {MOST}; each board once"
)


def parse_boards(text: str) -> tuple[tuple[str, str, str, int], ...]:
    """(window, by, category, top) of each board; raises ConfigurationError."""
    found = [_BOARD.fullmatch(part.strip()) for part in text.split(",")]
    boards = [(each[1], each[2], each[3], int(each[4])) for each in found if each]
    names = {board[:3] for board in boards}
    if len(names) < len(found) or not all(1 <= board[3] <= MOST for board in boards):
        raise wrong(LEADERBOARD, text, _EXPECTED)
    if any(board[1:3] == ("volume", "combos") for board in boards):
        raise wrong(LEADERBOARD, text, "pnl for the category combos, which has no board by volume")
    return tuple(boards)


def markets_url(environ: Mapping[str, str], source_url: str, *, public: bool) -> str:
    """The base URL of the market service.

    If it is not set: the public one for the `public` source, else the source's own URL. So a test
    source is never mixed with the real service.
    """
    url = (environ.get(MARKETS_URL) or (MARKETS if public else source_url)).rstrip("/")
    if not is_url(url):
        raise wrong(MARKETS_URL, url, "http://HOST[:PORT][/PATH] or https://…")
    refuse_credentials(MARKETS_URL, url)
    return url
