"""`python -m polycopy_assets.demo`: the sample API as a process of its own."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.recorded import load_directory
from polycopy_assets.demo.server import serve
from polycopy_assets.demo.state import State


@click.command()
@click.option("--port", default=0, help="0 picks a free one.")
@click.option("--wallets", default=200, help="How many wallets to generate.")
@click.option("--seed", default=1)
@click.option("--whales", default=1)
@click.option("--whale-trades", default=20_000)
@click.option("--most-trades", default=300, help="The most that any other wallet has.")
@click.option("--ledgers", is_flag=True, help="Generate whole ledgers, not trades alone.")
@click.option("--markets", default=40, help="How many markets to generate.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--lag", default=5, help="Seconds that the feed trails the clock.")
@click.option("--latency", default=0.0, help="Seconds added to every answer.")
@click.option("--budget", "budgets", multiple=True, help="PATH=REQUESTS/SECONDS, the rest is 429.")
@click.option("--fault", "faults", multiple=True, help="KIND=RATE, e.g. reset=0.02.")
def main(
    *,
    port: int,
    wallets: int,
    seed: int,
    whales: int,
    whale_trades: int,
    most_trades: int,
    ledgers: bool,
    markets: int,
    data: Path | None,
    lag: int,
    latency: float,
    budgets: Sequence[str],
    faults: Sequence[str],
) -> None:
    """Serves on 127.0.0.1 until it is told to stop; prints its URL when it is ready."""
    rates = {name: float(rate) for name, rate in (item.split("=") for item in faults)}
    world = (
        load_directory(data)
        if data
        else generate(
            seed,
            wallets,
            whales=whales,
            whale_trades=whale_trades,
            most_trades=most_trades,
            ledgers=ledgers,
            markets=markets,
        )
    )
    rate_limits = {path: _budget(text) for path, text in (item.split("=") for item in budgets)}
    state = State(world, Faults(seed), lag_seconds=lag, rate_limits=rate_limits)
    state.faults.set(rates)
    state.latency = latency
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with serve(state, port) as served:
        click.echo(served.url)
        stopped.wait()


def _budget(text: str) -> tuple[int, float]:
    requests, _, seconds = text.partition("/")
    return int(requests), float(seconds)


if __name__ == "__main__":
    main()
