"""The queries in docs/ledger.md: cash and shares of generated ledgers, to the last digit."""

from collections import Counter
from decimal import Decimal

from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.demo.entry import MICRO, TIP
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets_tests.deployment import Deployed, Deployment
from polycopy_assets_tests.documents import queries

CASH, SHARES = queries("ledger.md")
Held = dict[tuple[str, str | None], tuple[Decimal, bool]]


def decimal(micro: int) -> Decimal:
    return Decimal(micro) / MICRO


def cash(world: World) -> dict[str, tuple[Decimal, int]]:
    """What each wallet with rows has by its generator, but for tips."""
    found = {}
    for wallet in world.wallets():
        standing, tips = world.standing(wallet), 0
        assert standing
        served = [entry for entry in world.entries(wallet) if entry.type != TIP]
        for entry in world.entries(wallet):
            if entry.type == TIP:
                tips += entry.usdc if entry.side == "IN" else -entry.usdc
        if served:
            found[wallet.lower()] = (decimal(standing.cash - tips), 0)
    return found


def shares(world: World) -> Held:
    """What each wallet holds of each token by its generator."""
    found: Held = {}
    for wallet in world.wallets():
        standing = world.standing(wallet)
        assert standing
        for token, held in standing.shares.items():
            found[wallet.lower(), token] = (decimal(held), True)
    return found


def reckoned(deployment: Deployment) -> Held:
    rows = deployment.rows(SHARES)
    assert len({row[:2] for row in rows}) == len(rows)
    return {(wallet, token): (held, told) for wallet, token, held, told in rows}


def test_cash_and_shares_of_the_table_are_what_the_generator_says(deployed: Deployed):
    world = generate(29, 16, whales=1, whale_trades=900, most_trades=120, ledgers=True)
    types = Counter(entry.type for w in world.wallets() for entry in world.entries(w))
    assert len(types) == 14
    with deployed(world, POLYCOPY_FEEDS="trades,activity") as (deployment, _):
        deployment.want(world.wallets())
        report = deployment.backfill()
        assert (report.errors, report.failed_checks) == ([], [])
        with deployment.instance() as instance:
            result = run_job(instance, deployment.settings, Job.MARKETS, {}, Progress())
        assert result.success, why_failed(result)
        assert {w: (c, u) for w, c, u in deployment.rows(CASH)} == cash(world)
        assert reckoned(deployment) == shares(world)
