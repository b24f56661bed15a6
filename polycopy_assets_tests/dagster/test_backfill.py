"""The main job from the function behind the command: the table must equal the truth."""

import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import msgspec
import pytest

from polycopy_assets.demo.faults import RANDOM_FAULTS, Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.recorded import load_directory
from polycopy_assets.demo.world import World
from polycopy_assets.errors import PolycopyError
from polycopy_assets.record import attempts
from polycopy_assets.system.step import Step
from polycopy_assets_tests.deployment import Deployed, Deployment, new_trades, truth
from polycopy_assets_tests.of_trades import parse_name, record_in
from polycopy_assets_tests.recorded import FOLDERS


@pytest.mark.parametrize("source", ["polymarket", "dome"])
def test_the_table_equals_the_truth_and_a_repeat_asks_for_nothing(deployed: Deployed, source: str):
    world = generate(3, 30, whales=1, whale_trades=4000)
    with deployed(world, POLYCOPY_SOURCE=source, DOME_API_KEY="demo-key") as (deployment, served):
        deployment.want(world.wallets())
        first = deployment.backfill()
        assert deployment.table() == truth(world)
        assert (first.complete, first.failed, first.failed_checks) == (30, 0, [])
        assert first.trades_fetched == first.table_rows == world.count()
        served.state.counts.reset()
        again = deployment.backfill()
        assert served.state.counts.trade_requests == 0
        assert (again.requests, again.trades_fetched) == (0, 0)
        assert again.table_rows == world.count()


def test_identical_fills_are_all_there_and_have_ids_of_their_own(deployed: Deployed):
    world = generate(5, 12, whales=1, whale_trades=3000)
    twins = [n for n in truth(world).values() if n > 1]
    assert twins
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        assert deployment.table() == truth(world)
        assert deployment.feed_table.duplicates(5).found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_rows_as_served_end_in_the_table_as_they_stand_in_the_files(
    deployed: Deployed, folder: Path
):
    rows = [
        msgspec.json.decode(line)
        for path in folder.glob("v2_*.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    with deployed(load_directory(folder)) as (deployment, served):
        deployment.want(served.state.world.wallets())
        report = deployment.backfill()
    expected = sorted(
        (
            r["proxy_wallet"],
            r["timestamp"],
            r["transaction_hash"],
            r["token_id"],
            r["side"],
            r["price"],
            r["size"],
        )
        for r in rows
    )
    assert sorted(deployment.table().elements()) == expected
    assert (report.wallets, report.table_rows) == (2, len(rows))


def test_two_hundred_wallets_under_every_kind_of_fault_are_complete(deployed: Deployed):
    world = generate(11, 200, whales=1, whale_trades=20_000, most_trades=2500)
    faults = Faults(1, hang_seconds=1.5)
    with deployed(world, faults=faults, POLYCOPY_TIMEOUT="1") as (deployment, _):
        faults.set(dict.fromkeys(RANDOM_FAULTS, 0.02))
        deployment.want(world.wallets())
        report = deployment.backfill()
    assert report.failures == []
    assert deployment.table() == truth(world)
    assert set(faults.counts) == set(RANDOM_FAULTS), faults.counts


def test_a_refresh_serves_no_row_again_and_brings_exactly_thenew_trades(deployed: Deployed):
    world = generate(13, 8)
    day = 86_400
    with deployed(world, lag_seconds=day) as (deployment, served):
        deployment.want(world.wallets())
        deployment.backfill()
        with deployment.instance() as instance:
            versions = record_in(instance).versions()

        served.state.counts.reset()
        served.state.lag_seconds = day - 600
        nothing = deployment.backfill(refresh=True)
        assert sum(served.state.counts.rows.values()) == 0
        assert nothing.trades_fetched == 0
        with deployment.instance() as instance:
            assert record_in(instance).versions() == versions

        served.state.counts.reset()
        served.state.lag_seconds = 5
        wallet = world.wallets()[0]
        new = new_trades(wallet, int(time.time()) - day // 2, 1500)
        world.add(new)
        report = deployment.backfill(refresh=True)
        assert served.state.counts.rows.total() == len(new) == report.trades_fetched
        assert deployment.table() == truth(world)


def test_wallets_that_fail_hold_back_no_other_and_are_fetched_when_the_cause_is_gone(
    deployed: Deployed,
):
    world = generate(17, 20)
    bad = dict(zip(world.wallets()[2:5], ("400", "401", "missing_field"), strict=True))
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets(bad)
        deployment.want(world.wallets())
        report = deployment.backfill()
        good = [w for w in world.wallets() if w not in bad]
        assert deployment.table() == truth(world, good)
        reasons = {f.wallet: f.reason for f in report.failures}
        assert set(reasons) == {wallet.lower() for wallet in bad}
        assert "price" in reasons[world.wallets()[4].lower()]
        assert "400" in reasons[world.wallets()[2].lower()]
        with deployment.instance() as instance:
            assert set(attempts.failed(record_in(instance))) == set(reasons)

        served.state.faults.set_wallets({})
        served.state.counts.reset()
        assert deployment.backfill().failed == 0
        assert {w for w, n in served.state.counts.requests.items() if n} == set(reasons)
        assert deployment.table() == truth(world)
        with deployment.instance() as instance:
            assert attempts.failed(record_in(instance)) == []


@pytest.mark.parametrize("source", ["polymarket", "dome"])
def test_a_source_that_breaks_its_contract_never_completes_a_wallet(
    deployed: Deployed, source: str
):
    breaks = {
        "repeated_cursor": "cursor was repeated",
        "has_more_without_cursor": "no cursor",
        "out_of_bounds": "outside",
        "foreign_row": "another wallet",
        "oversized_page": "limit",
        "wrong_order": "newest first",
        "missing_field": "price",
        "repeated_page": "came again under a new cursor",
    }
    world = generate(19, len(breaks) + 2, whales=len(breaks) + 2, whale_trades=50)
    wallets = world.wallets()
    with deployed(world, POLYCOPY_SOURCE=source, DOME_API_KEY="demo-key") as (deployment, served):
        served.state.faults.set_wallets(dict(zip(wallets, breaks, strict=False)))
        deployment.want(wallets)
        report = deployment.backfill()
    reasons = {failure.wallet: failure.reason for failure in report.failures}
    for wallet, (kind, words) in zip(wallets, breaks.items(), strict=False):
        assert words in reasons[wallet.lower()], kind
        assert reasons[wallet.lower()].startswith("contract: ")
    assert deployment.table() == truth(world, wallets[len(breaks) :])


def test_an_unknown_extra_field_is_kept_and_counted_and_not_fatal(deployed: Deployed):
    world = generate(23, 1, whales=1, whale_trades=20)
    wallet = world.wallets()[0].lower()
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({wallet: "extra_field"})
        deployment.want([wallet])
        assert deployment.backfill().complete == 1
    with deployment.instance() as instance:
        found = record_in(instance).latest(wallet)
    assert found is not None
    assert found.metadata["unknown_fields"].value == {"is_combo": 1}


def test_a_source_that_is_down_is_said_once_and_nothing_is_half_done(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9", POLYCOPY_TIMEOUT="1")
    deployment.want([f"0x{n:040x}" for n in range(40)])
    report = deployment.backfill()
    assert (report.failed, report.complete, report.remaining) == (40, 0, 40)
    assert report.requests <= 8
    assert {f.reason for f in report.failures} == {report.failures[0].reason}
    assert "127.0.0.1:9" in report.failures[0].reason


def test_the_server_never_sees_more_requests_than_the_budget_allows(deployed: Deployed):
    world = generate(29, 60, most_trades=20)
    with deployed(world, rate_limit=(20, 0.5), POLYCOPY_RATE_LIMIT="20/0.5,1000/10") as (
        deployment,
        served,
    ):
        deployment.want(world.wallets())
        deployment.backfill()
        arrivals = served.state.counts.arrivals
        assert served.state.refused == 0
    worst = max(sum(1 for b in arrivals if a <= b < a + 0.5) for a in arrivals)
    assert worst <= 20
    assert deployment.table() == truth(world)


def test_a_long_history_is_walked_by_several_walkers_and_cut_into_many_segments(deployed: Deployed):
    world = generate(31, 1, whales=1, whale_trades=40_000)
    with deployed(world, POLYCOPY_SEGMENT_BYTES="200000") as (deployment, served):
        served.state.latency = 0.02
        deployment.want(world.wallets())
        deployment.backfill()
        first_pages = [asked for asked in served.state.counts.log if asked.first_page]
    assert len(first_pages) > 1
    segments = [s for s in deployment.store.list("trades/") if parse_name(s.name)]
    assert len(segments) > 5
    assert deployment.table() == truth(world)


def test_a_lost_table_is_loaded_again_from_the_store_alone(deployed: Deployed):
    world = generate(37, 10)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        deployment.backfill()
        Path(deployment.settings.warehouse).unlink()
        served.state.counts.reset()
        report = deployment.backfill()
        assert served.state.counts.trade_requests == 0
    assert report.table_rows == world.count()
    assert deployment.table() == truth(world)


def test_a_lost_record_is_made_again_without_a_row_being_served(tmp_path: Path, deployed: Deployed):
    world = generate(39, 10)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        deployment.backfill()
        another = Deployment(tmp_path / "another", served.url).environ
        places = ("DAGSTER_HOME", "POLYCOPY_INSTANCE")
        deployment.environ |= {name: another[name] for name in places if name in another}
        served.state.counts.reset()
        with pytest.raises(PolycopyError, match="reconcile --apply"):
            deployment.backfill()
        deployment.reconcile("--apply")
        report = deployment.backfill()
        assert served.state.counts.trade_requests == 0
    assert (report.complete, report.failed_checks) == (10, [])
    assert deployment.table() == truth(world)


def test_a_lost_segment_leaves_out_its_wallet_alone_and_a_check_names_it(deployed: Deployed):
    world = generate(41, 6, whales=6, whale_trades=30)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        _fetch_only(deployment)
        lost = world.wallets()[3].lower()
        for item in list(deployment.store.list(f"trades/{lost}/")):
            deployment.store.delete(item.name)
        report = deployment.backfill()
    others = [w for w in world.wallets() if w.lower() != lost]
    assert deployment.table() == truth(world, others)
    assert any("record_has_its_data" in check for check in report.failed_checks)
    assert any(lost in check for check in report.failed_checks)


def _fetch_only(deployment: Deployment) -> None:
    from polycopy_assets.definitions import build

    with deployment.instance() as instance:
        job = build(deployment.settings).resolve_job_def("fetch")
        assert job.execute_in_process(instance=instance).success


def test_a_materialization_reported_by_hand_does_not_make_a_wallet_complete(deployed: Deployed):
    world = generate(43, 3, whales=3, whale_trades=10)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        with deployment.instance() as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization("wallet_trades", partition=world.wallets()[0].lower())
            )
        report = deployment.backfill()
    assert report.complete == 3
    assert deployment.table() == truth(world)


def test_foreign_rows_in_traders_are_named_and_the_others_are_fetched(deployed: Deployed):
    world: World = generate(47, 2, whales=2, whale_trades=5)
    said: list[str] = []
    with deployed(world) as (deployment, _):
        deployment.warehouse.add_traders([*world.wallets(), "0x12", "robert'); drop table trades"])
        from polycopy_assets.cli.backfill import backfill
        from polycopy_assets.fetch.progress import Progress

        with deployment.instance() as instance:
            report = backfill(
                instance, deployment.settings, refresh=False, progress=Progress(), say=said.append
            )
    assert report.wallets == 2
    assert [line for line in said if "refused: '0x12'" in line]
    assert [line for line in said if "drop table" in line]
    assert deployment.table() == truth(world)


def test_each_phase_has_a_name(deployed: Deployed, monkeypatch: pytest.MonkeyPatch):
    named: list[str] = []
    for begins in ("begin", "part"):
        plain = getattr(Step, begins)

        def noted(self: Step, name: str, *args: int, plain: Callable[..., None] = plain) -> None:
            named.append(name)
            plain(self, name, *args)

        monkeypatch.setattr(Step, begins, noted)
    monkeypatch.setattr("polycopy_assets.batches.combine.BATCH_CLAIMS", 2)
    world = generate(48, 6)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
    batches = sum(name.startswith("combining") for name in named)
    assert batches > 1
    assert list(filter(None, named)) == [
        "comparing with the table",
        "looking for new trades",
        *(f"combining {number} of {batches}" for number in range(1, batches + 1)),
        *(f"loading batch {number}, {number} of {batches}" for number in range(1, batches + 1)),
        "checking: no_duplicate_ids",
        "checking: rows_match_record",
        "comparing with the table again",
    ]
