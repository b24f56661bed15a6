"""A board: a list of wallets that the source keeps, in the order of their rank.

Units are the source's: PnL in USDC, volume in shares (never USD). `week` and the other finite
windows rank the marked change of equity, `all` ranks realized PnL: the two are not comparable.
"""

import re
from typing import Annotated, Literal, get_args

import msgspec

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.text import counted, one_line, quoted
from polycopy_assets.trades.wallet import ADDRESS

Kind = Literal["leaderboard", "winners", "holders"]
Window = Literal["day", "week", "month", "all"]
By = Literal["pnl", "volume"]

WINDOWS: tuple[Window, ...] = get_args(Window)
SORTS: tuple[By, ...] = get_args(By)
OVERALL = "overall"
COMBOS = "combos"
CATEGORIES = (
    OVERALL,
    "politics",
    "sports",
    "crypto",
    "culture",
    "mentions",
    "weather",
    "economics",
    "tech",
    "finance",
    "esports",
    COMBOS,
)
"""Those that are known. The API answers any other word with an empty board, and no error."""

MOST = 10_000
"""The most wallets that are asked for."""

MOST_NAME = 256
"""Characters of a name that are kept."""

Rank = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""A rank as it is decoded: the tables have 64 bits for it."""

_CATEGORY = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_CONDITION = re.compile(r"0x[0-9a-fA-F]{64}")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which board, and how many wallets of it.

    `market` is for holders alone: a market's slug, or its condition id. Holders have no window, no
    category and no order of their choice; winners are ordered by PnL. Raises ConfigurationError,
    which names the option, for what cannot be asked.
    """

    kind: Kind = "leaderboard"
    window: Window = "week"
    category: str = OVERALL
    by: By = "pnl"
    market: str = ""
    top: int = 100

    def __post_init__(self) -> None:
        """Refuses what the source would refuse, or answer with nothing."""
        if not 1 <= self.top <= MOST:
            raise _wrong("top", str(self.top), f"a whole number from 1 to {MOST}")
        if not _CATEGORY.fullmatch(self.category):
            raise _wrong("category", self.category, f"a word such as {', '.join(CATEGORIES)}")
        if self.kind == "leaderboard" and self.category == COMBOS and self.by == "volume":
            raise ConfigurationError("combos are ranked by PnL alone: leave out --by volume")
        if self.kind == "winners" and self.by != "pnl":
            raise ConfigurationError("winners are ranked by PnL alone: leave out --by volume")
        if self.kind == "holders":
            if not (is_condition(self.market) or _SLUG.fullmatch(self.market)):
                expected = "the slug in a market's URL, or a condition id (0x and 64 hex digits)"
                raise _wrong("market", self.market, expected)
            if (self.window, self.category, self.by) != ("week", OVERALL, "pnl"):
                raise ConfigurationError(
                    "the holders of a market have no window, no category and no other order:"
                    " leave out --window, --category and --by"
                )

    @property
    def title(self) -> str:
        """`leaderboard by pnl, week, sports`: for people."""
        match self.kind:
            case "holders":
                return f"holders of {self.market}"
            case "winners":
                return f"biggest winners, {self.window}, {self.category}"
            case "leaderboard":
                return f"leaderboard by {self.by}, {self.window}, {self.category}"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet on a board.

    `wallet` is valid and in lower case. `name` is what the person chose: hostile text, to be shown
    through `text.one_line` alone. `pnl` is USDC, `volume` and `shares` (held) are shares; None
    stands for unavailable.
    """

    rank: Rank
    wallet: Annotated[str, msgspec.Meta(pattern=rf"\A{ADDRESS.pattern}\Z")]
    name: str = ""
    pnl: float | None = None
    volume: float | None = None
    shares: float | None = None

    @property
    def shown(self) -> str:
        """The name, safe for a terminal and a page."""
        return one_line(self.name, 40)


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What a walk over a board got: each wallet once, best rank first.

    `rows` were served, `repeated` of them named a wallet again, `refused` are those whose wallet is
    no address, as served. `ended` says that the source has no more than this. `at` is the source's
    clock at the first page, epoch seconds; None if it does not say.
    """

    asked: Asked
    entries: tuple[Entry, ...]
    rows: int
    repeated: int
    refused: tuple[str, ...]
    ended: bool
    pages: int
    requests: int
    at: float | None

    @property
    def depth(self) -> str:
        """How deep the board goes, in one sentence for people."""
        found = len(self.entries)
        if not self.ended:
            return f"The board goes deeper than {counted(found, 'wallet')}; --top asks for more."
        if self.asked.kind == "winners":
            return (
                f"The board ends here: {counted(found, 'wallet has', 'wallets have')} all of its"
                f" {counted(self.rows, 'win')}. The"
                " source keeps no more of them, so --top cannot ask for more."
            )
        return (
            f"The board ends here: it has {counted(found, 'wallet')}. The source keeps no more, so"
            " --top cannot ask for more."
        )


def asked_of(window: str, by: str, category: str, top: int, kind: Kind = "leaderboard") -> Asked:
    """The board of these words; raises ConfigurationError for one that is not accepted."""
    for word in WINDOWS:
        for order in SORTS:
            if (window, by) == (word, order):
                return Asked(kind=kind, window=word, by=order, category=category, top=top)
    raise _wrong("window", f"{window}, by {by}", f"{' or '.join(WINDOWS)}; pnl or volume")


def is_condition(text: str) -> bool:
    """Whether `text` is a market's condition id."""
    return _CONDITION.fullmatch(text) is not None


def _wrong(option: str, value: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"--{option} {quoted(value)} is not accepted: expected {expected}")
