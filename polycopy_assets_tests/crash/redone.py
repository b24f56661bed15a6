"""What was done already, and what was asked for again."""

from polycopy_assets.demo.faults import Asked
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.of_trades import parse_name


def stored_spans(deployment: Deployment) -> dict[str, list[Interval]]:
    """What the segments and coverage objects in the store cover, by wallet."""
    found: dict[str, list[Interval]] = {}
    for item in deployment.store.list("trades/"):
        if item.name.endswith(".jsonl"):
            continue  # the old job's
        named = parse_name(item.name)
        assert named, item.name
        found.setdefault(named[0], []).append(named[1])
    for wallet, stated in read_coverage(deployment.store).statements.items():
        found.setdefault(wallet, []).append(stated.span)
    return found


def asked_again(asked: list[Asked], durable: dict[str, list[Interval]]) -> list[Asked]:
    """Requests that reach into what was durable before they were sent."""
    return [
        item
        for item in asked
        for span in durable.get(item.wallet, ())
        if item.start < span.until and item.end >= span.start
    ]
