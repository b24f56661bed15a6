"""A picture of what a terminal shows."""

from pathlib import Path

import pyte
from matplotlib import get_data_path
from PIL import Image, ImageColor, ImageDraw, ImageFont

COLUMNS = 100
"""So wide that a picture fits the width of those of pages without being scaled."""

_ROWS = 100
_CELL, _LINE, _MARGIN, _SIZE = 8, 17, 10, 13
_PAPER, _INK = "#1b1f27", "#d7dce2"
_COLOURS = {
    "default": _INK,
    "black": "#4b5262",
    "red": "#f28779",
    "green": "#a6d189",
    "brown": "#e5c890",
    "blue": "#8caaee",
    "magenta": "#f4b8e4",
    "cyan": "#81c8be",
    "white": "#f2f4f8",
}


def draw(output: bytes, path: Path, columns: int = COLUMNS) -> None:
    """Draws the screen of a terminal that was sent `output`, without the empty lines below."""
    screen = pyte.Screen(columns, _ROWS)
    pyte.ByteStream(screen).feed(output)
    lines = len("\n".join(screen.display).rstrip().split("\n"))
    size = (columns * _CELL + 2 * _MARGIN, lines * _LINE + 2 * _MARGIN)
    picture = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(picture)
    folder = Path(get_data_path()) / "fonts" / "ttf"
    plain = ImageFont.truetype(folder / "DejaVuSansMono.ttf", _SIZE)
    bold = ImageFont.truetype(folder / "DejaVuSansMono-Bold.ttf", _SIZE)
    for row in range(lines):
        for column in range(columns):
            cell = screen.buffer[row][column]
            if cell.data.strip():
                at = (_MARGIN + column * _CELL, _MARGIN + row * _LINE)
                pen.text(at, cell.data, _colour(cell.fg), bold if cell.bold else plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def _colour(name: str) -> tuple[int, ...]:
    """A colour of pyte's: a name, `bright` and a name, or six hexadecimal digits."""
    known = _COLOURS.get(name.removeprefix("bright"))
    return ImageColor.getrgb(known or f"#{name}")
