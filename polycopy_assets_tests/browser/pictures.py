"""Makes the pictures of the documentation from those that tests left; small.

Pages come from `make browser-test`. Terminals come from `make first-hour`, and keep their size.
`asset-graph-two-feeds` is taken by hand, with `POLYCOPY_FEEDS=trades,activity`, after a fetch and a
load of each: asset `traders`, Lineage, Downstream, all.
"""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
WIDTH, COLOURS = 820, 48
PAGES = (
    "asset-graph",
    "automation",
    "backfill-dialog",
    "checks",
    "failed-wallet-reason",
    "launchpad",
    "partitions",
    "reconciliation",
    "reconciliation-check",
    "run",
    "run-lines",
    "trades",
)
TERMINALS = ("discovered", "progress", "interrupted", "standing", "query")


def made() -> Iterator[tuple[Path, str]]:
    """The pictures that tests left, each with its name in the documentation."""
    for name in PAGES:
        yield ROOT / ".browser" / f"{name}.png", name
    for name in TERMINALS:
        (found,) = (ROOT / ".first-hour").glob(f"[0-9][0-9]-{name}.png")
        yield found, f"terminal-{name}"


if __name__ == "__main__":
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    for source, name in made():
        with Image.open(source) as picture:
            height = picture.height * WIDTH // picture.width
            small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            small.quantize(COLOURS).save(folder / f"{name}.png", optimize=True)
