"""Makes `NAME.tar.gz`: a home, store and table as an older version wrote them.

    python polycopy_assets_tests/data/make_old_home.py CHECKOUT NAME

CHECKOUT is a checkout of the older version; it is run with this interpreter. The sample API is
today's: it serves the wallets of `polycopy_assets_tests.old_home`, some with odd rows.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.server import serve
from polycopy_assets.demo.state import State
from polycopy_assets_tests.old_home import odd_wallets, old_world

HERE = Path(__file__).parent


def main() -> None:
    """Writes the archive."""
    checkout, name = sys.argv[1:]
    world = old_world()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(State(world, Faults(), lag_seconds=86_400)) as served,
    ):
        environ = {
            **os.environ,
            "PYTHONPATH": checkout,
            "POLYCOPY_SOURCE_URL": served.url,
            "POLYCOPY_RATE_LIMIT": "100000/1",
            "POLYCOPY_STORE": "store",
            "POLYCOPY_WAREHOUSE": "warehouse.duckdb",
            "DAGSTER_HOME": f"{folder}/dagster",
        }

        def polycopy(*args: str) -> None:
            command = [sys.executable, "-m", "polycopy_assets", *args]
            subprocess.run(command, env=environ, cwd=folder, check=False)

        plain = [wallet for wallet in world.wallets() if wallet not in odd_wallets(world)]
        polycopy("wallets", "add", *plain)
        polycopy("backfill")
        served.state.lag_seconds = 5
        polycopy("backfill", "--refresh")
        # These end badly: what the older version recorded here, it could not combine.
        served.state.faults.set_wallets(odd_wallets(world))
        polycopy("wallets", "add", *odd_wallets(world))
        polycopy("backfill")
        polycopy("status")
        with tarfile.open(HERE / f"{name}.tar.gz", "w:gz", compresslevel=9) as archive:
            for each in ("dagster", "store", "warehouse.duckdb"):
                archive.add(Path(folder) / each, each, filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out what runs have printed: it names the folders of one machine."""
    return None if "/storage/" in member.name else member


if __name__ == "__main__":
    main()
