"""Homes, stores and tables that older versions wrote: what these were served, and where they are.

`data/make_old_home.py` has made the archives, with a checkout of the older version each.
"""

import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets_tests.deployment import Deployment

_DATA = Path(__file__).parent / "data"

FIRST_VERSION = _DATA / "first-version.tar.xz"
"""By the version before the one reading of a row; its odd wallets are recorded and not loaded."""

BEFORE_PACKAGES = _DATA / "before-packages.tar.xz"
"""By the version before the packages. Its last run was killed: it is recorded as started."""

ODD = ("huge_number", "other_names", "twice_key")
"""Odd rows that the older version recorded and could not combine, or combined wrongly."""

BEFORE_COMPACTION = _DATA / "before-compaction.tar.xz"
"""By the version before compaction: a refresh a month, and a segment a wallet and month."""


def old_world() -> World:
    """The wallets that the sample API served to the first version."""
    return generate(71, 12, whales=1, whale_trades=400, most_trades=80)


def odd_wallets(world: World) -> dict[str, str]:
    """The wallets that were served with odd rows, and the kinds of these."""
    filled = [wallet for wallet in world.wallets() if 1 < len(world.truth(wallet)) < 400]
    return dict(zip(filled, ODD, strict=False))


def world_before_packages() -> World:
    """The wallets that the sample API served to the version before the packages."""
    return generate(131, 14, whales=1, whale_trades=500, most_trades=160)


def _epoch(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


OLD_JOB_ENDED = _epoch(2023, 6)
FEED_ENDED = (_epoch(2024, 1), _epoch(2025, 1), _epoch(2026, 1))
"""Where the feed ended when the version before the packages fetched, and refreshed twice."""


MONTHS = tuple(_epoch(2024 + number // 12, number % 12 + 1) for number in range(20))
"""Where the feed ended when the version before compaction fetched, and refreshed."""


def world_before_compaction() -> World:
    """The wallets that the sample API served to the version before compaction."""
    return generate(171, 6, whales=1, whale_trades=900, most_trades=60)


class Cast(NamedTuple):
    """Wallets of `world_before_packages` with a story, in lower case.

    The old job's files of `taken_over` were adopted, and the one of `refuted` lacked rows. The
    first fetch of `failed_first` failed, and the latest refresh of `failed_last`.
    """

    taken_over: tuple[str, str]
    refuted: str
    failed_first: str
    failed_last: str


def cast(world: World) -> Cast:
    """The wallets that have a story: all have trades that the old job could have had."""
    early = [
        wallet.lower()
        for wallet in world.wallets()
        if 2 < sum(trade.timestamp < OLD_JOB_ENDED for trade in world.truth(wallet)) < 300
    ]
    one, two, refuted, failed_first, failed_last = early[:5]
    return Cast((one, two), refuted, failed_first, failed_last)


def unpack(root: Path, url: str, archive: Path = FIRST_VERSION) -> Deployment:
    """The older version's deployment, unpacked below `root`, with `url` as its source."""
    with tarfile.open(archive) as packed:
        packed.extractall(root, filter="data")
    return Deployment(root, url)
