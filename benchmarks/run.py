"""Runs the benches one after the other, and prints all figures as one table.

    python -m benchmarks.run [--size full|quick|smoke] [BENCH...]

Each bench is a process of its own. One that fails or runs out of time does not stop the others, and
leaves the figures that it has. All figures are also written to `benchmarks/results/`. Exit code 1
if a bench failed; a goal that is missed is no failure.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.bench import SIZES, hear_interrupts
from benchmarks.figures import Figure, Report, machine, table
from benchmarks.processes import ROOT

MINUTES = {"full": 60, "quick": 5, "smoke": 5}
"""A bench that is under way then is interrupted, and no other is started."""

# tiny_wallets leaves its wallets to the two after it; the longest is last.
BENCHES = (
    "start_up",
    "combine",
    "end_to_end",
    "fetch_rate",
    "load",
    "kill",
    "tiny_wallets",
    "nothing_to_do",
    "refresh",
    "record",
    "tail",
    "memory",
    "year",
)

GRACE_SECONDS = 30
RESULTS = ROOT / "benchmarks" / "results"


class Outcome(msgspec.Struct, frozen=True):
    """What one bench left: its figures, and what went wrong, if anything."""

    figures: Sequence[Figure]
    wrong: str = ""


def run_bench(name: str, size: str, work: Path, until: float) -> Outcome:
    """Runs a bench, until the monotonic time `until` at most."""
    left, options = work / f"{name}.json", ["--size", size, "--work", str(work)]
    options += ["--json", str(left)]
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    wrong = _ended(subprocess.Popen([*command, *options], cwd=ROOT), until)
    if not left.exists():
        return Outcome([], wrong)
    return Outcome(msgspec.json.decode(left.read_bytes(), type=Report).figures, wrong)


def _ended(process: subprocess.Popen[bytes], until: float) -> str:
    """Waits for a bench, and interrupts it when its time is up; what went wrong, if anything."""
    try:
        code = process.wait(max(until - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        _interrupt(process)
        return "interrupted: the time is up"
    except KeyboardInterrupt:
        _interrupt(process)
        raise
    return f"failed with exit code {code}" if code else ""


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_all(names: Sequence[str], size: str, work: Path, report: Report) -> bool:
    """Runs the benches and adds their figures to `report`; whether all of them ended well."""
    until = time.monotonic() + 60 * MINUTES[size]
    well = True
    for name in names:
        print(f"\n== {name}", flush=True)
        if time.monotonic() >= until:
            outcome = Outcome([], "not started: the time is up")
        else:
            outcome = run_bench(name, size, work, until)
        report.figures += outcome.figures
        if outcome.wrong:
            print(f"{name}: {outcome.wrong}", flush=True)
            report.figures.append(Figure(bench=name, what=outcome.wrong, note=outcome.wrong))
            well = False
    return well


def main() -> None:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the JSON")
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=", ".join(BENCHES))
    options = parser.parse_args()
    names = options.benches or BENCHES
    if unknown := set(names) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    hear_interrupts()
    report, well = Report(machine=machine(), size=options.size), False
    try:
        with tempfile.TemporaryDirectory(prefix="polycopy-bench-") as work:
            well = run_all(names, options.size, Path(work), report)
    finally:
        print(f"\n{report.machine}\n\n{table(report.figures, judged=options.size == 'full')}\n")
        print(f"written to {_write(report, options.results)}")
    sys.exit(not well)


def _write(report: Report, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.size}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return path


if __name__ == "__main__":
    main()
