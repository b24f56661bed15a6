"""Makes the pictures of the documentation from those that `make browser-test` left; small."""

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
WIDTH, COLOURS = 820, 48
SHOWN = (
    "asset-graph",
    "automation",
    "backfill-dialog",
    "checks",
    "failed-wallet-reason",
    "partitions",
    "reconciliation",
    "reconciliation-check",
    "run",
    "trades",
)

if __name__ == "__main__":
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    for name in SHOWN:
        with Image.open(ROOT / ".browser" / f"{name}.png") as picture:
            height = picture.height * WIDTH // picture.width
            small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            small.quantize(COLOURS).save(folder / f"{name}.png", optimize=True)
