"""What meets everybody, an outage or a full disk, and what is a wallet's own fault."""

from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.assets.step_record import DOWN_TAG
from polycopy_assets.cli.runs import why_failed
from polycopy_assets.cli.status import status
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import Kind, StoreError
from polycopy_assets.fetch.blame import DOWN_AFTER, Failed, Fault, Suspects
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.record import attempts, materializations
from polycopy_assets.store.local import LocalStore
from polycopy_assets_tests.days import DAY, HOUR, MINUTE, days
from polycopy_assets_tests.deployment import Deployed, sample_api, truth
from polycopy_assets_tests.of_trades import record_in

FAULTS = {"transient": Fault.OUTAGE, "store": Fault.STORE}


def failure(wallet: str, kind: Kind, *, tried: bool = True) -> Failed:
    fault = FAULTS.get(kind, Fault.WALLET)
    return Failed(wallet=wallet, reason=kind, kind=kind, tried=tried, fault=fault)


@pytest.mark.parametrize(
    ("told", "own", "down"),
    [
        ("t", "", True),
        ("tts", "", True),
        ("tf", "t", False),
        ("ft", "t", False),
        ("tp", "tp", False),
        ("tc", "tc", False),
        ("ti", "i", True),
        ("p", "p", False),
        ("pt", "p", True),
        ("stp", "tp", True),
        ("sf", "s", False),
        ("ftt-", "", True),
        ("tft-", "t", True),
        ("-", "", True),
        ("f", "", False),
    ],
)
def test_whose_fault_it_was_is_told_by_the_wallets_that_come_afterwards(
    told: str, own: str, *, down: bool
):
    kinds = {
        "t": Kind.TRANSIENT,
        "s": Kind.STORE,
        "p": Kind.PERMANENT,
        "c": Kind.CONTRACT,
        "i": Kind.INTERNAL,
    }
    failures, found = Suspects(), []
    for number, each in enumerate(told):
        if each == "f":
            found += failures.fetched()
        else:
            tried = each != "-"
            found += failures.failed(
                failure(str(number), kinds.get(each, Kind.TRANSIENT), tried=tried)
            )
    found += failures.ended()
    assert "".join(each.kind[0] for each in found) == own
    assert failures.down is down


def test_a_store_that_takes_nothing_uses_up_nobodys_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(61, 60, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    create = LocalStore.create

    def full(store: LocalStore, name: str, data: bytes, *_: object) -> None:
        if not name.startswith(("trades/", "coverage/")):
            create(store, name, data)
            return
        raise StoreError(f"cannot write {store.uri(name)}: No space left on device")

    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want(wallets)
        # The try before the fetch finds room, for a segment there is none.
        monkeypatch.setattr(LocalStore, "create", full)
        simulated.go_on(DAY, every=4 * HOUR)
        run = simulated.instance.get_runs(dg.RunsFilter(job_name="fetch"), limit=1)[0]
        assert DOWN_TAG in run.tags
        assert attempts.latest(record_in(simulated.instance), wallets) == {}
        # Those that were under way, and no more; what comes then is not even tried.
        assert len(served.state.counts.requests) <= DOWN_AFTER + 16
        simulated.runs.clear()
        simulated.go_on(HOUR, every=5 * MINUTE)
        assert simulated.runs["fetch"] <= 1
        monkeypatch.setattr(LocalStore, "create", create)
        simulated.go_on(2 * HOUR, every=HOUR)
        assert simulated.deployment.table() == truth(world)


def test_the_wallets_behind_a_store_that_fails_say_so(tmp_path: Path, deployed: Deployed):
    world = generate(62, 40, most_trades=5)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "trades").write_text("a file where a directory should be")
        reasons = [each.reason for each in deployment.backfill().failures]
    untried = [reason for reason in reasons if reason.startswith("not tried")]
    assert len(untried) >= len(reasons) - DOWN_AFTER - 16 > 0
    assert all("not tried: the store failed 8 wallets in a row" in reason for reason in untried)
    assert all(str(tmp_path / "store" / "trades") in reason for reason in untried)


def test_an_outage_that_meets_a_few_wallets_uses_up_no_attempts_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(63, 3, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want(wallets)
        served.state.faults.set({"unavailable": 1.0})
        simulated.go_on(2 * HOUR, every=5 * MINUTE)
        # After 1, 5, 15, 30, 60 minutes, and then once an hour.
        assert simulated.runs["fetch"] <= 7
        simulated.go_on(3 * DAY, every=8 * HOUR)
        assert attempts.latest(record_in(simulated.instance), wallets) == {}
        served.state.faults.set({})
        simulated.go_on(2 * HOUR, every=HOUR)
        assert simulated.deployment.table() == truth(world)


def test_a_wallet_that_alone_gets_no_answer_is_given_up_when_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(64, 9, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        served.state.faults.set_wallets({wallets[0]: "500"})
        simulated.want(wallets[:2])
        simulated.go_on(HOUR)
        (alone,) = attempts.latest(record_in(simulated.instance), wallets).values()
        asked = served.state.counts.requests[wallets[0]]
        simulated.go_on(4 * HOUR)
        # Asked again, but nobody can tell whether it is the wallet or the source.
        assert asked < served.state.counts.requests[wallets[0]] <= asked + 2 * 5
        assert attempts.latest(record_in(simulated.instance), wallets)[wallets[0]] == alone
        simulated.want(wallets)
        simulated.go_on(2 * HOUR, every=HOUR)
        found = attempts.latest(record_in(simulated.instance), wallets)
    assert {wallet: each.number for wallet, each in found.items()} == {wallets[0]: alone.number + 1}


def test_a_wallet_that_failed_is_seen_while_the_fetch_goes_on_and_if_it_dies(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(65, 3, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    describe, seen = materializations.describe, Counter[str]()
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "404"})
        deployment.want(wallets)
        with deployment.instance() as instance:

            def dies(fetched: Fetched) -> object:
                """Looks from outside at the first wallet that succeeds, and ends the run."""
                seen.update(attempts.failed(record_in(instance)))
                if seen.total() == 2:
                    raise RuntimeError("the run dies here")
                return describe(fetched)

            monkeypatch.setattr(materializations, "describe", dies)
            job = build(deployment.settings).resolve_job_def("fetch")
            result = job.execute_in_process(instance=instance, raise_on_error=False)
            monkeypatch.undo()
            assert "the run dies here" in why_failed(result)
            assert seen == {wallets[0]: 2}
            assert attempts.failed(record_in(instance)) == [wallets[0]]
            assert status(instance, deployment.settings).failed == 1
            checked = build(deployment.settings).resolve_job_def("check")
            found = checked.execute_in_process(instance=instance).get_asset_check_evaluations()
            assert not next(e for e in found if e.check_name == "no_wallet_failed").passed
            served.state.faults.set_wallets({})
            config = {"ops": {"wallet_trades": {"config": {"select": "failed"}}}}
            assert job.execute_in_process(instance=instance, run_config=config).success
            assert wallets[0] in record_in(instance).versions()
