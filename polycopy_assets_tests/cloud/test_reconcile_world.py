"""A thousand wallets in which every finding occurs, on both warehouses."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.record.partitions import register, registered
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.of_trades import record_in, wallet_prefix
from polycopy_assets_tests.old_job import OldJob, old_file, upper

pytestmark = pytest.mark.exhaustive

DAY = 86_400
Laid = tuple[World, Deployment, Served, Double | None]
PROCESSED = LAST + 10 * DAY


class Groups:
    """The wallets of a world, dealt out to what shall be found of them."""

    def __init__(self, world: World) -> None:
        wallets = [wallet.lower() for wallet in world.wallets()]
        filled = iter([wallet for wallet in wallets if world.truth(wallet)])

        def deal(number: int) -> list[str]:
            return list(islice(filled, number))

        self.adoptable = deal(250)
        self.unloaded = deal(60)
        self.surplus = deal(40)
        self.lying = deal(10)
        self.ghost = deal(60)
        rest = iter([*filled, *(wallet for wallet in wallets if not world.truth(wallet))])

        def share(number: int) -> list[str]:
            return list(islice(rest, number))

        self.false_complete = share(161)
        self.orphan = share(200)
        self.consistent = share(120)
        self.unregistered = share(20)
        self.unexported = share(50)
        self.remaining = list(rest)
        self.empty = [f"0x{number:040x}" for number in range(1, 31)]

    @property
    def counts(self) -> dict[str, int]:
        """What a dry run has to print."""
        return {
            "ghost": 60,
            "orphan": 200,
            "adoptable": 250,
            "false_complete": 161,
            "empty_complete": 40,
            "unloaded": 60,
            "surplus": 40,
            "unregistered": 20,
            "unexported": 50,
            "remaining": len(self.remaining),
            "consistent": 120,
        }


@pytest.fixture(params=["duckdb", "bigquery"])
def world_and_deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laid]:
    world = generate(11, 1000, most_trades=40)
    with sample_api(world) as api:
        if request.param == "duckdb":
            yield world, Deployment(tmp_path, api.url), api, None
        else:
            gcs, double = request.getfixturevalue("gcs"), request.getfixturevalue("double")
            yield world, GoogleDeployment(tmp_path, api.url, gcs, double.url), api, double


def lay_out(world: World, deployment: Deployment, groups: Groups) -> None:
    """Makes of each group what its name says."""
    elsewhere = Deployment(deployment.root, "")
    elsewhere.environ = {**deployment.environ, "DAGSTER_HOME": str(deployment.root / "elsewhere")}
    with elsewhere.instance() as instance:
        register(instance, groups.orphan)
        elsewhere.fetch(instance, wallets=groups.orphan)
        assert len(record_in(instance).versions()) == len(groups.orphan)
    recorded = [*groups.consistent, *groups.ghost, *groups.unloaded, *groups.surplus]
    deployment.want([*recorded, *groups.unexported])
    assert deployment.backfill().complete == len(recorded) + len(groups.unexported)
    deployment.want(groups.remaining)

    old = OldJob(deployment)
    for number, wallet in enumerate([*recorded, *groups.orphan[:100]]):
        old.tick(upper(wallet) if number % 3 else wallet, len(world.truth(wallet)), at=PROCESSED)
    _adoptable(world, old, groups.adoptable)
    _false(world, old, groups.false_complete)
    for wallet in [*groups.empty, *groups.lying]:
        old.tick(wallet, 0, at=PROCESSED, uploaded=None)
    for wallet in groups.empty[:10]:
        old.put(wallet, b"")
    for wallet in [*groups.unregistered[:10], *groups.unexported[:25]]:
        old.tick(wallet, completed=False, uploaded=False)
    for wallet in groups.unregistered[10:]:
        old.put(wallet, old_file(world.truth(wallet)))
    old.tick("nonsense", 3, at=PROCESSED)
    old.tick(None, 3, at=PROCESSED)
    old.put("no-wallet", b"")
    old.write()
    _damage(deployment, groups)


def _adoptable(world: World, old: OldJob, wallets: Sequence[str]) -> None:
    for number, wallet in enumerate(wallets):
        trades = list(world.truth(wallet))
        name = upper(wallet) if number % 4 == 0 else wallet
        old.put(name, old_file(trades if number % 2 else trades[::-1]))
        last = trades[0].timestamp
        # 0..49: ticked off an hour after the newest trade, so that the margin cuts some off;
        # 50..69: without a date; 70..: long after all trades.
        at = last + 3600 if number < 50 else None if number < 70 else PROCESSED
        count = len(trades) if number % 5 else None
        old.tick(
            upper(wallet) if number % 3 else wallet, count, at=at, file=f"gs://b/x/{name}.jsonl"
        )
        if number % 7 == 0:
            old.tick(wallet, len(trades) + 1, at=PROCESSED)  # a row that nothing bears out
        if number % 11 == 0:
            old.tick(wallet, None, completed=False)


def _false(world: World, old: OldJob, wallets: Sequence[str]) -> None:
    for number, wallet in enumerate(wallets):
        trades = list(world.truth(wallet))
        content = old_file(trades) or b"\n"
        uploaded: bool | None = True
        count = len(trades) or 1
        if 100 <= number < 120:  # one trade more than the checkpoint counted
            count = len(trades) + 1
            old.put(wallet, content)
        elif number < 130 and number >= 120:  # torn in the middle of a line
            old.put(wallet, content + b'{"id": "0x1", "condi')
        elif 130 <= number < 140:
            uploaded = None
            old.put(wallet, content)
        elif 140 <= number < 150:  # another wallet's trades
            old.put(
                wallet,
                content.replace(wallet[-6:].encode(), b"abcdef")
                + old_file(world.truth(wallets[0])),
            )
        elif number >= 150:
            old.put(wallet, content)
            old.put(upper(wallet), content)
        old.tick(upper(wallet) if number % 2 else wallet, count, at=PROCESSED, uploaded=uploaded)


def _damage(deployment: Deployment, groups: Groups) -> None:
    store = deployment.store
    for number, wallet in enumerate(groups.ghost):
        for item in list(store.list(wallet_prefix(wallet))):
            data = store.read(item.name)
            store.delete(item.name)
            if number % 2:
                store.create(item.name, data[:-4])
    for wallet in groups.unloaded:
        deployment.execute("DELETE FROM {}trades WHERE wallet_address = @wallet", wallet=wallet)
    if isinstance(deployment, GoogleDeployment):
        # Nothing is noticed by the number of rows, as if others had added as many.
        deployment.execute("UPDATE {}polycopy_batches SET `rows` = 1 WHERE batch = 0")
    for number, wallet in enumerate(groups.surplus):
        deployment.execute(
            "INSERT INTO {}trades (wallet_address, id, timestamp, tx_hash)"
            " SELECT @address, tx_hash, timestamp, tx_hash FROM {}trades"
            " WHERE wallet_address = @wallet",
            address=wallet if number < len(groups.surplus) // 2 else upper(wallet),
            wallet=wallet,
        )
    # Rows of the old job that no batch claims yet: taking its files over replaces them.
    for wallet in groups.adoptable[100:120]:
        for address in (wallet, upper(wallet)):
            deployment.execute(
                "INSERT INTO {}trades (wallet_address, id, timestamp)"
                " VALUES (@address, 'x', TIMESTAMP '2024-01-01 00:00:00')",
                address=address,
            )


def snapshot(deployment: Deployment) -> dict[str, Any]:
    """All that a dry run could change."""
    store = deployment.store
    digest = hashlib.sha256()
    names = []
    for prefix in ("trades/", "combined/", "quarantine/"):
        for item in store.list(prefix):
            names.append(item.name)
            digest.update(store.read(item.name))
    with deployment.instance() as instance:
        return {
            "names": names,
            "bytes": digest.hexdigest(),
            "record": record_in(instance).versions(),
            "partitions": registered(instance),
            "materialized": {
                key.to_user_string(): instance.get_latest_materialization_event(key)
                for key in instance.get_asset_keys()
                if key != dg.AssetKey("reconciliation")
            },
            "trades": Counter(deployment.rows("SELECT * FROM {}trades")),
            "checkpoint": Counter(deployment.rows("SELECT * FROM {}backfill_checkpoint")),
            "traders": Counter(deployment.rows("SELECT * FROM {}traders")),
        }


@pytest.mark.timeout(600)
def test_every_finding_is_found_and_mended_and_the_table_is_the_truth(
    world_and_deployment: Laid,
):
    world, deployment, api, double = world_and_deployment
    groups = Groups(world)
    lay_out(world, deployment, groups)
    api.state.counts.reset()

    before = snapshot(deployment)
    jobs = len(double.jobs) if double else 0
    dry = deployment.polycopy("reconcile", "--json")
    assert dry.returncode == 1, dry.stderr
    told = json.loads(dry.stdout)
    assert told["counts"] == groups.counts
    by_finding: dict[str, set[str]] = {}
    for item in told["findings"]:
        by_finding.setdefault(item["finding"], set()).add(item["wallet"])
    assert sum(map(len, by_finding.values())) == len(told["findings"]) == 1030
    for name in set(groups.counts) - {"empty_complete"}:
        assert by_finding[name] == set(getattr(groups, name)), name
    assert by_finding["empty_complete"] == {*groups.empty, *groups.lying}
    assert {(item["ledger"], item["text"]) for item in told["refused"]} == {
        ("checkpoint", "nonsense"),
        ("checkpoint", "NULL"),
        ("store", "trades/no-wallet.jsonl"),
    }
    # Wanted wallets, checkpoint and rows: one query each, and nothing else.
    assert double is None or [job.kind for job in double.jobs[jobs:]] == ["query"] * 3
    assert snapshot(deployment) == before, "a dry run changed something"
    assert not api.state.counts.requests, "a dry run asked the source"

    applied = deployment.polycopy("reconcile", "--apply", "--json")
    assert applied.returncode == 0, applied.stderr + applied.stdout[-3000:]
    done = json.loads(applied.stdout)
    assert done["counts"] == groups.counts
    assert done["left"].keys() <= {"consistent", "remaining"}
    assert done["left"]["remaining"] == len(groups.remaining) + len(groups.unregistered)

    late = groups.adoptable[:70]  # the margin left some of their trades to be fetched
    fetched = {*groups.ghost, *groups.false_complete, *groups.empty, *groups.lying, *late}
    asked = api.state.counts.requests
    assert set(asked) == fetched
    assert all(asked[wallet] == 1 for wallet in groups.empty)
    for item in api.state.counts.log:
        if item.wallet in late:
            assert item.start >= world.truth(item.wallet)[0].timestamp - 2 * DAY

    todo = {*groups.remaining, *groups.unregistered}
    arrived = [wallet.lower() for wallet in world.wallets() if wallet.lower() not in todo]
    assert deployment.table() == truth(world, arrived)
    adopted = deployment.rows(
        "SELECT DISTINCT wallet_address FROM {}trades WHERE source = 'checkpoint'"
    )
    assert {row[0] for row in adopted} == {
        wallet
        for number, wallet in enumerate(groups.adoptable)
        if number >= 70 or world.truth(wallet)[-1].timestamp < _until(world, number, wallet)
    }

    again = deployment.polycopy("reconcile", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["counts"] == done["left"]
    api.state.counts.reset()
    assert deployment.backfill().remaining == 0
    assert set(api.state.counts.requests) == todo
    assert deployment.table() == truth(world)


def _until(world: World, number: int, wallet: str) -> int:
    """Until when the first 70 adopted files are believed."""
    last = world.truth(wallet)[0].timestamp
    return last + (3600 if number < 50 else 0) - DAY
