"""How long short commands take, beside the interpreter and `import dagster`.

Each command is a new process on what `polycopy demo` leaves: 24 wallets, one of them with 20,000
trades, and nothing to fetch. The commands take turns, so that a change in the machine's pace meets
all of them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept
from benchmarks.deployment import clean_environ, must
from benchmarks.figures import Figure
from benchmarks.processes import Ended, run
from polycopy_assets.cli.demo_world import SEED, WALLETS, WHALE_TRADES, WHALES
from polycopy_assets.demo.generate import generate

POLYCOPY = ("-m", "polycopy_assets")
KNOWN = generate(SEED, WALLETS, whales=WHALES, whale_trades=WHALE_TRADES).wallets()[0]
NOTHING, IMPORT = "python -c pass", "import dagster"


class Command(NamedTuple):
    """A command: the arguments of a Python, what it is compared with, its goal and exit code."""

    arguments: tuple[str, ...]
    baseline: str = IMPORT
    goal: str = ""
    code: int = 0


COMMANDS = {
    "polycopy --version": Command((*POLYCOPY, "--version"), NOTHING, "<= 0.3"),
    "polycopy --help": Command((*POLYCOPY, "--help"), NOTHING, "<= 0.3"),
    "polycopy --wrong": Command((*POLYCOPY, "--wrong"), NOTHING, code=2),
    "polycopy status": Command((*POLYCOPY, "status"), goal="<= 2"),
    "polycopy wallets add, a known one": Command((*POLYCOPY, "wallets", "add", KNOWN)),
    "polycopy backfill, nothing to fetch": Command((*POLYCOPY, "backfill")),
}
BASELINES = {NOTHING: Command(("-c", "pass")), IMPORT: Command(("-c", "import dagster"))}

SIZES = {"full": 7, "quick": 1, "smoke": 1}
"""Rounds."""


def measure(rounds: int, work: Path) -> Iterator[Figure]:
    """All commands, in turns."""
    # Nobody is at that address: none of the commands may ask the source.
    environ = {**clean_environ(), "POLYCOPY_SOURCE_URL": "http://127.0.0.1:9"}

    def ended(command: Command) -> Ended:
        ended = run([sys.executable, *command.arguments], environ=environ, cwd=work)
        must(ended.code == command.code, f"exit code {command.code}: {ended.err}")
        return ended

    ended(Command((*POLYCOPY, "demo")))
    every = {**BASELINES, **COMMANDS}
    found: dict[str, list[float]] = {name: [] for name in every}
    with kept():
        for number in range(rounds + 1):
            for name, command in every.items():
                seconds = ended(command).seconds
                if number:  # in the first round the files come from the disk
                    found[name].append(seconds)
    for name, command in COMMANDS.items():
        yield Figure(
            what=name,
            unit="s",
            samples=found[name],
            baseline=command.baseline,
            against=found[command.baseline],
            goal=command.goal,
            goal_of="value",
        )


if __name__ == "__main__":
    bench("start_up", SIZES, measure)
