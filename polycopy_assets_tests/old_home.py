"""A home, store and table that an older version wrote: what it was asked for, and where it is.

`data/make_old_home.py` has made the archive, with a checkout of the older version.
"""

import tarfile
from pathlib import Path

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets_tests.deployment import Deployment

FIRST_VERSION = Path(__file__).parent / "data" / "first-version.tar.gz"
"""By the version before the one reading of a row; its odd wallets are recorded and not loaded."""

ODD = ("huge_number", "other_names", "twice_key")
"""Odd rows that the older version recorded and could not combine, or combined wrongly."""


def old_world() -> World:
    """The wallets that the sample API served."""
    return generate(71, 12, whales=1, whale_trades=400, most_trades=80)


def odd_wallets(world: World) -> dict[str, str]:
    """The wallets that were served with odd rows, and the kinds of these."""
    filled = [wallet for wallet in world.wallets() if 1 < len(world.truth(wallet)) < 400]
    return dict(zip(filled, ODD, strict=False))


def unpack(root: Path, url: str) -> Deployment:
    """The older version's deployment, unpacked below `root`, with `url` as its source."""
    with tarfile.open(FIRST_VERSION) as archive:
        archive.extractall(root, filter="data")
    return Deployment(root, url)
