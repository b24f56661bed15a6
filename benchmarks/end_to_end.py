"""A whole backfill, beside the same copy with dlt; and why ingestr is not measured.

`polycopy backfill` into a directory and DuckDB ÷ `with_dlt.py` into DuckDB, alternating, each in
new files. dlt gets the best of several settings, tried first, with pages as dicts and as Arrow
tables. What differs: ours also keeps the rows as served, proves coverage, and types the columns.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept, until
from benchmarks.deployment import Deployment, clean_environ, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.processes import ROOT, Ended, run
from benchmarks.server import PageServer, serving

PYTHON = Path(os.environ.get("BENCH_PYTHON", ROOT / ".venv-bench" / "bin" / "python"))
"""Has dlt and ingestr; `make bench` installs them."""

NOT_INSTALLED = "not in .venv-bench: `make bench` installs it"
INGESTR = (
    "cannot be pointed at another server: its Polymarket source has a fixed base URL, asks API v1"
    " by offset, and merges by transaction hash; its HTTP source reads single files. By that key"
    " it would keep {kept:,} of these {rows:,} rows"
)


class Setting(NamedTuple):
    """How dlt is run: threads that extract, processes that normalize, `dicts` or `arrow`."""

    extract: int
    normalize: int
    items: str


class Size(NamedTuple):
    """Wallets, trades, rounds, and the settings of dlt to try."""

    wallets: int
    trades: int
    rounds: int
    settings: tuple[Setting, ...]


_FEW = (Setting(10, 1, "dicts"), Setting(10, 1, "arrow"))
SIZES = {
    "full": Size(
        500,
        500_000,
        3,
        (
            *_FEW,
            *(Setting(5, 1, "dicts"), Setting(20, 1, "dicts"), Setting(10, 2, "dicts")),
            Setting(5, 1, "arrow"),
        ),
    ),
    "quick": Size(100, 50_000, 1, _FEW),
    "smoke": Size(5, 2_500, 1, _FEW[:1]),
}


def ours(server: PageServer, root: Path) -> Ended:
    """One backfill into new files."""
    deployment = Deployment(root, server.url)
    deployment.want(server.wallets)
    ended = deployment.backfill()
    must(deployment.rows() == server.trades, "every trade is in the table, once")
    return ended


def theirs(server: PageServer, root: Path, setting: Setting) -> Ended:
    """One run of dlt into new files."""
    root.mkdir(parents=True)
    listed = root / "wallets"
    listed.write_text("\n".join(server.wallets))
    ended = run(
        [
            *(str(PYTHON), "-P", str(ROOT / "benchmarks" / "with_dlt.py")),
            *(server.url, str(listed), str(root), *map(str, setting)),
        ],
        environ=clean_environ(),
        cwd=root,
    ).checked()
    must(int(ended.out.split()[-1]) == server.trades, "dlt has loaded every trade, once")
    return ended


def installed(name: str) -> str:
    """The version of a package beside the bench; empty without it."""
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    if not PYTHON.exists():
        return ""
    said = subprocess.run(
        [str(PYTHON), "-c", code, name], check=False, capture_output=True, text=True
    )
    return said.stdout.strip()


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Time, memory and rows of both, and of each variant of dlt."""
    world = World(kind="many", wallets=size.wallets, trades=size.trades, until=until())
    with serving(world, ceiling=min(1.0, size.trades / 100_000)) as server:
        tried = []
        dlt = installed("dlt")
        for number, setting in enumerate(size.settings if dlt else ()):
            ended = theirs(server, work / f"try-{number}", setting)
            print(f"dlt {setting}: {ended.seconds:.1f} s, {ended.peak:.0f} MB", flush=True)
            tried.append((ended.seconds, setting))
        best = {s.items: s for _, s in sorted(tried, key=lambda item: -item[0])}
        runs: dict[str, list[Ended]] = {"polycopy": [], **{items: [] for items in best}}
        with kept():
            for number in range(size.rounds):
                runs["polycopy"].append(ours(server, work / f"ours-{number}"))
                for items, setting in best.items():
                    runs[items].append(theirs(server, work / f"{items}-{number}", setting))
        yield from _compared(size, runs, best, dlt)
        yield Figure(what="ingestr", note=_ingestr(server))


def _compared(
    size: Size, runs: dict[str, list[Ended]], best: dict[str, Setting], dlt: str
) -> Iterator[Figure]:
    mine = runs.pop("polycopy")
    what = f"{size.wallets:,} wallets, {size.trades:,} trades"
    if not runs:
        yield Figure(what=f"{what}: time", unit="s", samples=[each.seconds for each in mine])
        yield Figure(what=f"{what}: peak memory", unit="MB", samples=[each.peak for each in mine])
        yield Figure(what="dlt", note=NOT_INSTALLED)
    for items, others in runs.items():
        main = items == "dicts"
        name = f"dlt {dlt}, {items}"
        setting = best[items]
        yield Figure(
            what=f"{what}: time",
            unit="s",
            samples=[each.seconds for each in mine],
            baseline=name,
            against=[each.seconds for each in others],
            goal="<= 0.5" if main else "",
            note=f"best of dlt's settings with {items}: {setting.extract} extract workers,"
            f" {setting.normalize} normalize workers; rows in both tables are equal",
        )
        yield Figure(
            what=f"{what}: processor time",
            unit="s",
            samples=[each.cpu for each in mine],
            baseline=name,
            against=[each.cpu for each in others],
        )
        yield Figure(
            what=f"{what}: peak memory",
            unit="MB",
            samples=[each.peak for each in mine],
            baseline=name,
            against=[each.peak for each in others],
            goal="<= 0.7" if main else "",
        )


def _ingestr(server: PageServer) -> str:
    """Why ingestr is not measured, and how many rows its key would leave."""
    version = installed("ingestr")
    hashes = server.transactions()
    why = INGESTR.format(kept=hashes, rows=server.trades)
    return f"ingestr {version} {why}" if version else f"ingestr is {NOT_INSTALLED}; and it {why}"


if __name__ == "__main__":
    bench("end_to_end", SIZES, measure)
