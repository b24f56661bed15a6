"""Trades alone beside an earlier version of the project, and both feeds beside trades alone.

    python -m benchmarks.two_feeds [--size full|quick|smoke] [--before COMMIT]

Each backfill is a process of its own, of the same wallets, into a directory of its own. They take
turns: so a change in the machine's pace meets all of them. Processor time counts on a machine that
does other work, and wall time does not. Requests, objects, rows and bytes are what the sample API
counted and what lies in the store. Segments and rows are the same in every run; so are requests,
unless one is repeated. Batches and coverage are not: loads go on beside a fetch, and wallets share
coverage for some seconds, so the pace decides how many objects they are.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.deployment import Deployment, clean_environ, count_rows, must
from benchmarks.figures import machine
from benchmarks.processes import ROOT, run

SEED = 17


class Size(NamedTuple):
    """Wallets of the sample API, and how often each backfill is measured."""

    wallets: int
    whales: int
    whale_trades: int
    most_trades: int
    rounds: int


SIZES = {
    "full": Size(200, 4, 20_000, 2_000, 5),
    "quick": Size(100, 2, 5_000, 500, 2),
    "smoke": Size(12, 1, 1_200, 20, 1),
}


class Measured(NamedTuple):
    """One backfill: what it asked for, left in the store and the tables, and cost, in seconds."""

    requests: Mapping[str, int]
    objects: Mapping[str, int]
    stored: Mapping[str, int]
    """Bytes, like `objects` by folder of the store."""

    rows: Mapping[str, int]
    cpu: float
    wall: float


class Variant(NamedTuple):
    """A version of the project, in the directory `code`, with its feeds."""

    name: str
    code: Path
    feeds: Sequence[str]


def measure(variant: Variant, url: str, root: Path) -> Measured:
    """A first backfill of all wallets of the API; SystemExit if it is not complete."""
    deployment = Deployment(root, url)
    wallets: list[str] = json.loads(_get(url, "/demo/wallets"))
    deployment.want(wallets)
    _get(url, "/demo/reset", b"")
    own = {"PYTHONPATH": str(variant.code)}
    if len(variant.feeds) > 1:
        own["POLYCOPY_FEEDS"] = ",".join(variant.feeds)
    environ = {**deployment.environ, **own}
    where = [sys.executable, "-c", "import polycopy_assets; print(polycopy_assets.__file__)"]
    imported = run(where, environ=environ, cwd=root).checked().out
    must(imported.startswith(str(variant.code)), f"{imported.strip()} lies in {variant.code}")
    command = [sys.executable, "-m", "polycopy_assets", "backfill", "--json"]
    ended = run(command, environ=environ, cwd=root).checked()
    must(json.loads(ended.out)["complete"] == len(wallets), "every wallet is complete")
    counts = json.loads(_get(url, "/demo/counts"))
    objects, stored = Counter[str](), Counter[str]()
    for path in deployment.store.rglob("*"):
        if path.is_file():
            folder = path.relative_to(deployment.store).parent.as_posix()
            named = "/".join(part for part in folder.split("/") if part.isalpha()) or "/"
            objects[named] += 1
            stored[named] += path.stat().st_size
    rows = {feed: count_rows(deployment.table, feed) for feed in variant.feeds}
    return Measured(counts["routes"], objects, stored, rows, ended.cpu, ended.seconds)


def lines(ours: Sequence[Measured], base: Sequence[Measured]) -> Iterator[str]:
    """The figures of one variant beside another one's: medians, and ratios ours ÷ base."""
    yield f"{'':<34}{'ours':>14}{'beside':>14}{'ratio':>8}  spread"
    for field in ("requests", "objects", "stored", "rows"):
        names = dict.fromkeys(name for each in (*ours, *base) for name in getattr(each, field))
        for name in (*names, "all of it"):
            one, other = ([_of(each, field, name) for each in some] for some in (ours, base))
            yield _line(f"{field}: {name}", one, other)
    yield _line("processor, s", [each.cpu for each in ours], [each.cpu for each in base])
    yield _line("wall, s", [each.wall for each in ours], [each.wall for each in base])


def _of(measured: Measured, field: str, name: str) -> int:
    found: Mapping[str, int] = getattr(measured, field)
    return sum(found.values()) if name == "all of it" else found.get(name, 0)


def _line(what: str, ours: Sequence[float], base: Sequence[float]) -> str:
    one, other = statistics.median(ours), statistics.median(base)
    ratio = f"{one / other:.3f}" if other else ""
    spread = " | ".join(
        f"{_said(min(some))} to {_said(max(some))}" if len(set(some)) > 1 else _said(some[0])
        for some in (ours, base)
    )
    return f"{what:<34}{_said(one):>14}{_said(other):>14}{ratio:>8}  {spread}"


def _said(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.2f}"


@contextmanager
def sample_api(size: Size) -> Iterator[str]:
    """The sample API as a process of its own; its URL."""
    options = {
        "--seed": SEED,
        "--wallets": size.wallets,
        "--whales": size.whales,
        "--whale-trades": size.whale_trades,
        "--most-trades": size.most_trades,
    }
    given = [str(part) for option in options.items() for part in option]
    process = subprocess.Popen(
        [sys.executable, "-m", "polycopy_assets.demo", "--ledgers", *given],
        env=clean_environ(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        must(url, "the sample API starts")
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def version(before: str, folder: Path) -> Iterator[Path]:
    """Where another version is: a directory, or a commit of this repository put into `folder`."""
    if Path(before).is_dir():
        yield Path(before).resolve()
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), before], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_feeds", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument(
        "--before",
        metavar="COMMIT",
        help="measure the trades of this version too; a directory with one will do",
    )
    parser.add_argument("--json", type=Path, help="write the samples to this file")
    options = parser.parse_args()
    size = SIZES[options.size]
    print(f"two_feeds, {options.size}, {size}: {machine()}", flush=True)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polycopy-bench-")))
        alone = Variant("trades alone", ROOT, ("trades",))
        variants = [alone, Variant("both feeds", ROOT, ("trades", "activity"))]
        if options.before:
            code = stack.enter_context(version(options.before, work / "before"))
            variants.insert(0, Variant(f"trades alone, {options.before}", code, ("trades",)))
        url = stack.enter_context(sample_api(size))
        found: dict[str, list[Measured]] = {each.name: [] for each in variants}
        for number in range(size.rounds):
            for each in variants[:: -1 if number % 2 else 1]:
                root = work / f"{number}-{len(found[each.name])}-{variants.index(each)}"
                found[each.name].append(measure(each, url, root))
                print(f"round {number + 1}: {each.name}", flush=True)
                if options.json:
                    options.json.write_bytes(msgspec.json.encode(found))
    for one, other in zip(variants[1:], variants, strict=False):
        print(f"\n{one.name} (ours) beside {other.name}, medians of {size.rounds}:")
        print("\n".join(lines(found[one.name], found[other.name])), flush=True)


def _get(url: str, path: str, body: bytes | None = None) -> bytes:
    """The body of the answer to a GET, or to a POST of `body`."""
    with urllib.request.urlopen(f"{url}{path}", body, timeout=60) as answer:
        return answer.read()


if __name__ == "__main__":
    main()
