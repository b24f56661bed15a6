"""How long short commands take, beside the interpreter and `import dagster`; prints what it found.

Each command is a new process on what `polycopy demo` leaves: 24 wallets, one of them with 20,000
trades, and nothing to fetch. The commands take turns, so that a change of the machine's pace meets
all of them. `cpu` is user and system time of the process; other work on the machine prolongs `wall`
much more.

    python benchmarks/start_up.py [ROUNDS]
"""

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from polycopy_assets.cli.demo_world import SEED, WALLETS, WHALE_TRADES, WHALES
from polycopy_assets.demo.generate import generate

POLYCOPY = ("-m", "polycopy_assets")
KNOWN = generate(SEED, WALLETS, whales=WHALES, whale_trades=WHALE_TRADES).wallets()[0]
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass (baseline)": ("-c", "pass"),
    "python -c 'import dagster' (baseline)": ("-c", "import dagster"),
    "polycopy --version": (*POLYCOPY, "--version"),
    "polycopy --help": (*POLYCOPY, "--help"),
    "polycopy --wrong": (*POLYCOPY, "--wrong"),
    "polycopy status": (*POLYCOPY, "status"),
    "polycopy wallets add, a known one": (*POLYCOPY, "wallets", "add", KNOWN),
    "polycopy backfill, nothing to fetch": (*POLYCOPY, "backfill"),
}
"""What is measured, by name: the arguments of a Python."""


def timed(arguments: Sequence[str], folder: Path, environ: dict[str, str]) -> tuple[float, float]:
    """(wall, cpu) seconds of a Python with these arguments; its output is dropped."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, check=False
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.returncode == (2 if "--wrong" in arguments else 0), ended.stderr.decode()
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures and prints."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    own = ("POLYCOPY_", "DAGSTER_", "DOME_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environ["POLYCOPY_SOURCE_URL"] = "http://127.0.0.1:9"  # nobody is there: none of them may ask
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        timed((*POLYCOPY, "demo"), Path(folder), environ)
        for number in range(rounds + 1):
            for name, arguments in COMMANDS.items():
                measured = timed(arguments, Path(folder), environ)
                if number:  # in the first round the files come from the disk
                    found[name].append(measured)
    print(
        f"{rounds} rounds, {platform.machine()}, {len(os.sched_getaffinity(0))} cores,"
        f" Python {platform.python_version()}; seconds: median (lowest to highest)"
    )
    print(f"  {'':<40}{'cpu':<24}wall")
    for name, times in found.items():
        wall, cpu = (_spread([each[n] for each in times]) for n in (0, 1))
        print(f"  {name:<40}{cpu:<24}{wall}")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
