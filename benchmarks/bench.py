"""What each bench does beside measuring: its options, its directory, its table and its JSON."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.figures import Figure, Report, machine, table

SIZES = ("full", "quick", "smoke")
"""`full` is what docs/performance.md shows, `quick` is small, `smoke` only shows that it works."""

DAY = 86_400

_Size = TypeVar("_Size")
_ended: list[BaseException] = []


def bench(
    name: str,
    sizes: Mapping[str, _Size],
    measure: Callable[[_Size, Path], Iterator[Figure]],
) -> None:
    """Runs `measure` in the size that the command line names, in a directory; prints a table.

    A bench that is interrupted or fails prints what it has, and ends with that exit code.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--work", type=Path, help="keep files of wallets that benches share here")
    options = parser.parse_args()
    hear_interrupts()
    report = Report(machine=machine(), size=options.size)
    print(f"{name}, {options.size}: {report.machine}", flush=True)
    shared = options.work or Path(tempfile.mkdtemp(prefix="polycopy-bench-"))
    own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=shared))
    started = time.perf_counter()
    try:
        for figure in measure(sizes[options.size], own):
            reached = figure.samples or figure.note
            note = figure.note if reached else "interrupted, or failed, before it was measured"
            report.figures.append(msgspec.structs.replace(figure, bench=name, note=note))
            _keep(report, options.json)
        if _ended:
            raise _ended[0]
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted")
    finally:
        shutil.rmtree(own if options.work else shared, ignore_errors=True)
        print(table(report.figures, judged=options.size == "full"))
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


@contextmanager
def kept() -> Iterator[None]:
    """Keeps what was measured in it before an interrupt, or before something did not hold.

    The figures can then be yielded as far as there are any; afterwards the bench ends with that
    error.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        _ended.append(error)


def hear_interrupts() -> None:
    """Has SIGINT and SIGTERM raise KeyboardInterrupt, also where a shell has them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _keep(report: Report, path: Path | None) -> None:
    """Written after each figure, so that an interrupted bench leaves those it has."""
    if path:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def until() -> int:
    """The time before which the trades of a world lie: the last midnight but one, UTC."""
    return (int(time.time()) // DAY - 1) * DAY
