"""`polycopy reconcile` and the `reconciliation` asset, on a directory and DuckDB."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.world import World
from polycopy_assets.errors import StoreError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.reconcile.read_ledgers import read_ledgers
from polycopy_assets.record.partitions import registered
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.wanted import WANTED
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.deployment import Deployed, Deployment, new_trades, records_of, truth
from polycopy_assets_tests.of_trades import (
    COVERAGE,
    parse_name,
    record_in,
    segment_name,
    wallet_prefix,
)
from polycopy_assets_tests.old_job import OldJob, old_file, upper

PROCESSED = LAST + 864_000


def wallets_of(world: World) -> list[str]:
    return [wallet.lower() for wallet in world.wallets()]


def test_an_empty_machine_has_nothing_to_reconcile_and_stays_empty(
    tmp_path: Path, deployment: Deployment
):
    told = deployment.reconcile()
    assert (told["counts"], told["findings"], told["applied"]) == ({}, [], False)
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "warehouse.duckdb").exists()
    assert deployment.reconcile("--apply")["counts"] == {}


def test_wallets_ticked_off_without_data_are_all_found_and_fetched(deployed: Deployed):
    world = generate(5, 200, most_trades=30)
    ticked = wallets_of(world)[:161]
    with deployed(world) as (deployment, api):
        old = OldJob(deployment)
        for wallet in ticked:
            old.tick(upper(wallet), 7, at=PROCESSED, file=f"gs://b/trades/{wallet}.jsonl")
        old.write()
        told = deployment.reconcile(code=1)
        assert told["counts"] == {"false_complete": 161}
        assert {item["wallet"] for item in told["findings"]} == set(ticked)
        assert "not in the store" in told["findings"][0]["why"]
        assert deployment.reconcile("--apply")["left"] == {"consistent": 161}
        assert set(api.state.counts.requests) == set(ticked)
        assert deployment.table() == truth(world, ticked)


def test_a_checkpoint_that_takes_no_row_is_named_and_the_rest_is_done(
    tmp_path: Path, deployed: Deployed
):
    world = generate(5, 30, most_trades=9)
    wallets = wallets_of(world)
    with deployed(world) as (deployment, _):
        old = OldJob(deployment)
        old.tick(wallets[0], 7, at=PROCESSED, file="gs://b/none.jsonl")
        old.write()
        with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as db:
            db.execute("ALTER TABLE backfill_checkpoint ADD COLUMN host VARCHAR DEFAULT 'old'")
            db.execute("ALTER TABLE backfill_checkpoint ALTER COLUMN host DROP DEFAULT")
            db.execute("ALTER TABLE backfill_checkpoint ALTER COLUMN host SET NOT NULL")
        deployment.want(wallets)
        assert deployment.backfill().complete == 30
        told = deployment.reconcile("--apply", code=1)
        assert told["left"] == {"consistent": 1, "unexported": 29}
        assert {item["wallet"] for item in told["failures"]} == {*wallets[1:]}
        assert "host" in told["failures"][0]["reason"]
        assert deployment.table() == truth(world)


def test_after_the_loss_of_dagsters_database_the_record_is_rebuilt_without_a_request(
    deployed: Deployed,
):
    world = generate(6, 60, whales=1, whale_trades=4000)
    with deployed(world, POLYCOPY_SEGMENT_BYTES="20000") as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        deployment.backfill(refresh=True)  # states time without trades, and records nothing
        with deployment.instance() as instance:
            before = {r.wallet: r for r in records_of(instance, wallets_of(world))}
        deployment.lose_record()
        api.state.counts.reset()
        assert deployment.reconcile(code=1)["counts"] == {"orphan": 60}
        assert deployment.reconcile("--apply")["left"] == {"consistent": 60}
        with deployment.instance() as instance:
            after = {r.wallet: r for r in records_of(instance, wallets_of(world))}
        for wallet, was in before.items():
            now = after[wallet]
            assert now.version == was.version
            assert now.covered_until >= was.covered_until
            assert [s.name for s in now.segments] == [s.name for s in was.segments]
            assert [(s.rows, s.crc32c, s.first) for s in now.segments] == [
                (s.rows, s.crc32c, s.first) for s in was.segments
            ]
        again = deployment.backfill()
        assert (again.requests, again.complete, again.trades_fetched) == (0, 60, 0)
        assert not api.state.counts.requests
        assert deployment.table() == truth(world)


def test_of_a_ghost_exactly_what_is_lost_is_fetched_and_what_is_damaged_is_kept(deployed: Deployed):
    world = generate(7, 3, whales=3, whale_trades=3000)
    with deployed(world, POLYCOPY_SEGMENT_BYTES="20000") as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        store, (gone, torn, _) = deployment.store, wallets_of(world)
        lost: dict[str, Interval] = {}
        for wallet in (gone, torn):
            names = [item.name for item in store.list(wallet_prefix(wallet))]
            assert len(names) > 3
            data = store.read(names[1])
            store.delete(names[1])
            if wallet == torn:
                store.create(names[1], data[:-1])
            found = parse_name(names[1])
            assert found
            lost[wallet] = found[1]
        api.state.counts.reset()
        told = deployment.reconcile("--apply")
        assert told["counts"] == {"ghost": 2, "consistent": 1}
        assert told["left"] == {"consistent": 3}
        assert {item.wallet for item in api.state.counts.log} == {gone, torn}
        for wallet, span in lost.items():
            asked = [a for a in api.state.counts.log if a.wallet == wallet]
            inside = [a for a in asked if a.end < LAST]
            assert {(a.start, a.end) for a in inside} == {(max(span.start, 1), span.until - 1)}
            assert all(a.rows == 0 for a in asked if a not in inside), "what is stored came again"
        kept = [item.name for item in store.list("quarantine/")]
        assert len(kept) == 1
        assert torn in kept[0]
        assert deployment.table() == truth(world)


def test_a_ghost_that_could_not_be_fetched_stays_one_until_it_is(
    tmp_path: Path, deployed: Deployed
):
    world = generate(19, 4)
    wallet = next(w for w in wallets_of(world) if world.truth(w))
    with deployed(world) as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        shutil.rmtree(tmp_path / "store" / "trades" / wallet)
        environ = {"POLYCOPY_SOURCE_URL": f"{api.url}/gone"}
        assert deployment.polycopy("reconcile", "--apply", environ=environ).returncode == 1
        told = deployment.reconcile(code=1)
        assert told["counts"] == {"ghost": 1, "consistent": 3}
        (ghost,) = [item for item in told["findings"] if item["finding"] == "ghost"]
        assert (ghost["wallet"], ghost["why"]) == (
            wallet,
            "its record was revoked, and it has not been fetched again yet",
        )
        assert deployment.polycopy("status", "--json").stdout.count('"complete":3') == 1
        assert deployment.reconcile("--apply")["left"] == {"consistent": 4}
        assert deployment.table() == truth(world)


def test_a_changed_byte_is_found_by_verify_alone_and_the_wallet_is_put_right(deployed: Deployed):
    world = generate(8, 12)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        store = deployment.store
        name = next(iter(store.list("trades/"))).name
        data = bytearray(store.read(name))
        data[-9] ^= 1
        store.delete(name)
        store.create(name, bytes(data))
        assert deployment.reconcile()["counts"] == {"consistent": 12}
        told = deployment.reconcile("--verify", code=1)
        assert told["counts"] == {"ghost": 1, "consistent": 11}
        (ghost,) = [item for item in told["findings"] if item["finding"] == "ghost"]
        assert "a different checksum" in ghost["why"]
        assert deployment.reconcile("--verify", "--apply")["left"] == {"consistent": 12}
        assert deployment.reconcile("--verify")["counts"] == {"consistent": 12}
        assert deployment.table() == truth(world)


def test_a_damaged_segment_without_a_record_is_set_aside_and_fetched(
    tmp_path: Path, deployed: Deployed
):
    world = generate(9, 4)
    with deployed(world) as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        deployment.lose_record()
        shutil.rmtree(tmp_path / "store" / "combined")
        store = deployment.store
        name = next(iter(store.list("trades/"))).name
        data = store.read(name)
        store.delete(name)
        store.create(name, data[: len(data) // 2])
        api.state.counts.reset()
        assert deployment.reconcile("--apply")["left"] == {"consistent": 4}
        assert set(api.state.counts.requests) == {name.split("/")[1]}
        assert deployment.table() == truth(world)


@pytest.mark.parametrize("policy", ["verified", "never", "refetch"])
def test_the_policy_decides_what_old_files_are_worth(deployed: Deployed, policy: str):
    world = generate(10, 12, most_trades=60)
    wallets = [wallet for wallet in wallets_of(world) if world.truth(wallet)]
    with deployed(world, POLYCOPY_ADOPT=policy) as (deployment, api):
        old = OldJob(deployment)
        for wallet in wallets:
            trades = world.truth(wallet)
            # The old job lost fills of one order: what it has is not all there was.
            known = [t for n, t in enumerate(trades) if n % 3 or len(trades) < 3]
            old.put(wallet, old_file(known))
            old.tick(wallet, len(known), at=PROCESSED)
        old.write()
        told = deployment.reconcile("--apply")
        sources = {row[0] for row in deployment.rows("SELECT DISTINCT source FROM {}trades")}
        if policy == "never":
            assert told["counts"] == {"unregistered": len(wallets)}
            assert told["left"] == {"remaining": len(wallets)}
            assert not sources
            deployment.backfill()
            assert deployment.table() == truth(world)
            return
        assert told["counts"] == {"adoptable": len(wallets)}
        assert told["left"] == {"consistent": len(wallets)}
        if policy == "verified":
            assert sources == {"checkpoint"}
            assert not api.state.counts.requests
            told = deployment.reconcile("--adopt", "refetch", code=1)
            assert told["counts"] == {"adopted": len(wallets)}
            assert deployment.reconcile("--apply", "--adopt", "refetch")["left"] == {
                "consistent": len(wallets)
            }
        assert deployment.table() == truth(world)
        assert {row[0] for row in deployment.rows("SELECT DISTINCT source FROM {}trades")} == {
            "polymarket"
        }
        assert not [
            item for item in deployment.store.list("trades/") if "refetch.json" in item.name
        ]
        assert all(deployment.store.read(f"trades/{wallet}.jsonl") for wallet in wallets)


def test_what_cannot_be_fetched_is_left_and_named_and_comes_in_the_next_time(deployed: Deployed):
    world = generate(12, 10)
    wallets = wallets_of(world)
    with deployed(world) as (deployment, _):
        old = OldJob(deployment)
        for wallet in wallets:
            old.tick(wallet, 5, at=PROCESSED)
        old.write()
        environ = {"POLYCOPY_SOURCE_URL": "http://127.0.0.1:9"}
        done = deployment.polycopy("reconcile", "--apply", "--json", environ=environ)
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert told["left"] == {"false_complete": 10}
        assert {item["wallet"] for item in told["failures"]} == set(wallets)
        assert "127.0.0.1:9" in told["failures"][0]["reason"]
        assert deployment.reconcile("--apply")["left"] == {"consistent": 10}
        assert deployment.table() == truth(world)


def test_a_store_that_cannot_be_written_is_noticed_before_the_source_is_asked(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    """A run from the UI: the command looks before it starts one."""
    world = generate(5, 3, most_trades=30)
    with deployed(world) as (deployment, api), deployment.instance() as instance:
        old = OldJob(deployment)
        for wallet in wallets_of(world):
            old.tick(wallet, 7, at=PROCESSED)
        old.write()
        before = run_job(instance, deployment.settings, Job.RECONCILE, {}, Progress())
        assert before.success

        def full(_store: LocalStore) -> None:
            raise StoreError("cannot write to the store: no space left on device")

        monkeypatch.setattr(LocalStore, "check_writable", full)
        failed = run_job(instance, deployment.settings, Job.RECONCILE, {"apply": True}, Progress())
        assert not failed.success
        assert "no space left" in why_failed(failed)
        assert not api.state.counts.requests


def test_trades_newer_than_what_was_taken_over_are_fetched_however_late(deployed: Deployed):
    world = generate(18, 12, most_trades=60)
    wallets = [wallet for wallet in wallets_of(world) if world.truth(wallet)]
    with deployed(world) as (deployment, api):
        old = OldJob(deployment)
        for wallet in wallets:
            trades = world.truth(wallet)
            old.put(wallet, old_file(trades))
            old.tick(wallet, len(trades), at=trades[0].timestamp + 3600)
        old.write()
        # The source refuses: the same as if the process were killed before it asks.
        environ = {"POLYCOPY_SOURCE_URL": f"{api.url}/gone"}
        done = deployment.polycopy("reconcile", "--apply", "--json", environ=environ)
        assert done.returncode == 1
        assert json.loads(done.stdout)["left"] == {"newer_than_file": len(wallets)}
        assert deployment.reconcile(code=1)["counts"] == {"newer_than_file": len(wallets)}
        deployment.lose_record()
        assert deployment.reconcile(code=1)["counts"] == {"orphan": len(wallets)}
        assert deployment.reconcile("--apply")["left"] == {"consistent": len(wallets)}
        for asked in api.state.counts.log:
            assert asked.start >= world.truth(asked.wallet)[0].timestamp - 90_000
        assert deployment.table() == truth(world)


def test_a_store_that_is_empty_though_wallets_are_recorded_stops_it(
    tmp_path: Path, deployed: Deployed
):
    world = generate(13, 5)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
    (tmp_path / "store").rename(tmp_path / "unmounted")
    done = deployment.polycopy("reconcile", "--apply")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Is POLYCOPY_STORE right, and mounted?" in done.stderr
    with deployment.instance() as instance:
        assert len(record_in(instance).versions()) == 5


def test_a_ledger_that_cannot_be_read_stops_it(deployed: Deployed):
    world = generate(14, 5)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
    deployment.execute("CREATE TABLE backfill_checkpoint (wallet_address VARCHAR)")
    done = deployment.polycopy("reconcile")
    assert done.returncode == 1
    assert "completed" in done.stderr
    deployment.execute("DROP TABLE backfill_checkpoint")
    manifest = next(iter(deployment.store.list("combined/manifests/"))).name
    deployment.store.delete(manifest)
    deployment.store.create(manifest, b"{broken")
    done = deployment.polycopy("reconcile")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert manifest in done.stderr


def test_a_look_lists_the_store_once_and_asks_each_table_once(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(17, 20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
    calls: Counter[str] = Counter()

    def counted(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def call(self: Any, *args: Any, **options: Any) -> Any:
            told = [a for a in args if isinstance(a, str)]
            if not any(each.startswith((COVERAGE, WANTED)) for each in told):  # for all wallets
                calls[" ".join([name, *told])] += 1
            return original(self, *args, **options)

        monkeypatch.setattr(kind, name, call)

    for name in ("list", "read"):
        counted(LocalStore, name)
    for name in ("traders", "checkpoint"):
        counted(DuckDBWarehouse, name)
    for name in ("tally", "count_rows", "rows_by_wallet"):
        counted(DuckDBTable, name)
    with deployment.instance() as instance:
        ledgers = read_ledgers(
            instance,
            deployment.store,
            deployment.warehouse,
            adopt=Adopt.VERIFIED,
            verify=False,
            progress=Progress(),
            now=PROCESSED,
        )
    assert len(ledgers.facts) == 20
    assert calls == {
        "list trades/": 1,
        "list combined/manifests/": 1,
        "read combined/manifests/00000001.json": 1,
        "traders": 1,
        "checkpoint": 1,
        "tally": 1,
    }


def test_a_wrong_policy_is_one_line_that_says_what_is_accepted(tmp_path: Path):
    done = Deployment(tmp_path, "http://127.0.0.1:9", POLYCOPY_ADOPT="maybe").polycopy("reconcile")
    assert done.returncode == 2
    assert done.stderr == (
        "polycopy: POLYCOPY_ADOPT='maybe' is not accepted: expected verified or never or refetch\n"
    )


def test_a_full_refetch_that_was_killed_goes_on_and_nothing_is_served_twice(deployed: Deployed):
    world = generate(15, 2, whales=1, whale_trades=6000)
    whale = wallets_of(world)[0]
    with deployed(world, POLYCOPY_SEGMENT_BYTES="20000") as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        store = deployment.store
        names = [item.name for item in store.list(wallet_prefix(whale))]
        # As if killed after two new segments: a marker, the old ones, and two that overlap them.
        refetch.begin(store, whale, names)
        horizon = LAST + 1000
        api.state.counts.reset()
        world.add(new_trades(whale, LAST + 500, 9))
        with deployment.instance() as instance:
            done = (
                build(deployment.settings)
                .resolve_job_def("fetch")
                .execute_in_process(
                    instance=instance,
                    run_config={"ops": {"wallet_trades": {"config": {"wallets": [whale]}}}},
                )
            )
            assert done.success
            now = record_in(instance).latest(whale)
        assert now is not None
        assert {segment.name for segment in now.segments}.isdisjoint(names)
        assert {item.name for item in store.list(wallet_prefix(whale))} == {
            segment.name for segment in now.segments
        }
        assert now.covered_until > horizon
        deployment.backfill()
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": 2}


def test_the_asset_shows_its_findings_and_a_picture_and_its_check_names_wallets(deployed: Deployed):
    world = generate(16, 10)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        first, second = sorted(w for w in wallets_of(world) if world.truth(w))[:2]
        for wallet in (first, second):
            deployment.execute("DELETE FROM trades WHERE wallet_address = @wallet", wallet=wallet)
        done = deployment.dagster(
            "asset",
            "materialize",
            "-m",
            "polycopy_assets.definitions",
            "--select",
            "reconciliation",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        metadata, check = _latest(deployment)
        assert metadata["counts"].value == {"unloaded": 2, "consistent": 8}
        rows = [row.data for row in metadata["findings"].records]
        assert (rows[0]["finding"], rows[0]["wallets"], rows[0]["first"]) == ("unloaded", 2, first)
        assert metadata["chart"].value.startswith("![wallets by finding](data:image/png;base64,")
        assert not check.passed
        said = f"2 unloaded (first {first}): recorded and stored, but the table lacks rows"
        assert check.description == said
        trouble = check.metadata["trouble"]
        assert isinstance(trouble, dg.TableMetadataValue)
        (row,) = trouble.records
        assert (row.data["action"], row.data["first"]) == ("reload", f"{first}, {second}")
        assert deployment.table() != truth(world), "a dry run repaired something"
        with deployment.instance() as instance:
            job = build(deployment.settings).resolve_job_def("reconcile")
            config = {"ops": {"reconciliation": {"config": {"apply": True}}}}
            assert job.execute_in_process(instance=instance, run_config=config).success
        metadata, check = _latest(deployment)
        assert metadata["left"].value == {"consistent": 10}
        assert check.passed
        assert deployment.table() == truth(world)


def _latest(deployment: Deployment) -> tuple[Any, dg.AssetCheckEvaluation]:
    with deployment.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("reconciliation"))
        assert event is not None
        assert event.asset_materialization is not None
        (check,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("reconciliation"), "ledgers_agree"), limit=1
        )
        assert check.event is not None
        assert check.event.dagster_event is not None
        evaluation = check.event.dagster_event.event_specific_data
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        return event.asset_materialization.metadata, evaluation


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_wrong_at_once_one_pass_settles_it(deployed: Deployed, seed: int):
    rng = random.Random(seed)
    world = generate(100 + seed, 50, whales=3, whale_trades=900)
    wallets = wallets_of(world)
    with deployed(world, POLYCOPY_SEGMENT_BYTES="9000") as (deployment, _):
        known = [wallet for wallet in wallets if rng.random() < 0.7]
        deployment.want(known)
        deployment.backfill()
        store = deployment.store
        old = OldJob(deployment)
        for wallet in wallets:
            _wrong(rng, deployment, old, wallet, world)
        old.write()
        if seed == 2:
            deployment.lose_record()
        first = deployment.reconcile(code=1)
        assert len(first["findings"]) == len({item["wallet"] for item in first["findings"]})
        done = deployment.reconcile("--apply")
        assert done["counts"] == first["counts"]
        assert done["left"].keys() <= {"consistent", "remaining"}, done["left"]
        deployment.want(wallets)
        assert deployment.backfill().remaining == 0
        # Rows of an older job in another case may belong to wallets that came only now.
        assert deployment.reconcile("--apply")["left"] == {"consistent": 50}
        assert deployment.table() == truth(world)
        stored = Counter(item.name.split("/")[1] for item in store.list("trades/"))
        assert set(wallets) <= {*stored, *read_coverage(store).statements}
        with deployment.instance() as instance:
            assert set(registered(instance)) == set(wallets)


def _wrong(
    rng: random.Random, deployment: Deployment, old: OldJob, wallet: str, world: World
) -> None:
    """A handful of things go wrong with a wallet, each for itself."""
    store, trades = deployment.store, world.truth(wallet)
    names = [item.name for item in store.list(wallet_prefix(wallet))]
    for name in names:
        luck = rng.random()
        if luck < 0.2:
            data = store.read(name)
            store.delete(name)
            if luck < 0.1:
                store.create(name, data[:-2])
    if rng.random() < 0.4:
        content = old_file(trades)
        store.create(
            f"trades/{upper(wallet) if rng.random() < 0.5 else wallet}.jsonl",
            content[:-7] if rng.random() < 0.2 else content,
        )
    for _ in range(rng.choice((0, 1, 1, 2))):
        old.tick(
            rng.choice((wallet, upper(wallet))),
            rng.choice((len(trades), None, 0, len(trades) + 1)),
            at=rng.choice((PROCESSED, None, LAST - 10**7)),
            completed=rng.choice((True, True, None, False)),
            uploaded=rng.choice((True, True, None, False)),
        )
    if rng.random() < 0.2:
        deployment.execute("DELETE FROM trades WHERE wallet_address = @wallet", wallet=wallet)
    if rng.random() < 0.3:
        address = rng.choice((wallet, upper(wallet)))
        deployment.execute(
            "INSERT INTO trades (wallet_address, id, timestamp)"
            f" VALUES ('{address}', 'old', TIMESTAMP '2024-05-05 00:00:00')"
        )
    if rng.random() < 0.1 and not names:
        store.create(segment_name(wallet, Interval(LAST + 10, LAST + 20)), b"\x1f\x8b garbage")


def test_a_repair_records_what_the_checks_of_its_load_found(deployed: Deployed):
    world = generate(83, 4, most_trades=20)
    checks = [
        dg.AssetCheckKey(dg.AssetKey(asset), name)
        for asset, name in (
            ("trades", "rows_match_record"),
            ("trades", "no_duplicate_ids"),
            ("combined_trades", "record_has_its_data"),
            ("combined_trades", "batches_hold"),
        )
    ]
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        deployment.execute("DELETE FROM {}trades")
        with deployment.instance() as instance:
            for key in checks:
                failed = dg.AssetCheckEvaluation(key.asset_key, key.name, passed=False)
                instance.report_runless_asset_event(failed)
            assert _outcomes(instance, checks) == {"FAILED"}
        deployment.reconcile("--apply")
        with deployment.instance() as instance:
            assert _outcomes(instance, checks) == {"SUCCEEDED"}
    assert deployment.table() == truth(world)


def _outcomes(instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey]) -> set[str]:
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    return {found[key].status.value for key in checks}
