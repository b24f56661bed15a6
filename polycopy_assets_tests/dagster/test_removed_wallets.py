"""Wallets that are removed, purged, added again; and who is wanted after all else is lost."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.cli import backfill
from polycopy_assets.cli.purge import purge
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.errors import WarehouseBusy
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import this_process
from polycopy_assets.record.partitions import register, registered, unregister
from polycopy_assets.record.wanted import retire
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.trades.wanted import WANTED, State
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.of_trades import wallet_prefix
from polycopy_assets_tests.terminal import in_terminal

WORLD = generate(71, 5, most_trades=40)
WALLETS = sorted(wallet.lower() for wallet in WORLD.wallets())
NEVER = "0x" + "a" * 40
"""A wallet without trades, which is wanted and was never fetched."""

pytestmark = pytest.mark.kept


@contextmanager
def filled(deployed: Deployed, **options: Any) -> Iterator[tuple[Deployment, Served]]:
    """A deployment after a backfill, with the requests of the source counted from here on."""
    with deployed(WORLD, **options) as (deployment, served):
        told(deployment, "wallets", "add", *WALLETS)
        assert deployment.here("backfill")[0] == 0
        served.state.counts.reset()
        yield deployment, served


def told(deployment: Deployment, *args: str, code: int = 0) -> str:
    """What a command says in this process, on both streams."""
    with redirect_stderr(io.StringIO()) as errors:
        ended, said = deployment.here(*args)
    assert ended == code, said + errors.getvalue()
    return said + errors.getvalue()


def status(deployment: Deployment) -> dict[str, Any]:
    return json.loads(deployment.here("status", "--json")[1])


def rows_of_traders(deployment: Deployment) -> set[str]:
    return {(wallet or "").lower() for wallet in deployment.warehouse.traders()}


def partitions(deployment: Deployment) -> set[str]:
    with deployment.instance() as instance:
        return set(registered(instance))


def segments(deployment: Deployment, wallet: str) -> list[str]:
    return [item.name for item in deployment.store.list(wallet_prefix(wallet))]


def left(without: Sequence[str]) -> Any:
    return truth(WORLD, [wallet for wallet in WALLETS if wallet not in without])


def state(deployment: Deployment, wallet: str) -> State | None:
    return read_wanted(deployment.store).state(wallet)


def test_removed_is_removed_and_added_again_goes_on_where_it_was(deployed: Deployed):
    gone = WALLETS[1]
    with filled(deployed) as (deployment, served):
        unknown = "0x" + "b" * 40
        given = gone.upper().replace("X", "x")
        said = told(deployment, "wallets", "remove", given, unknown, code=2)
        assert "1 removed, 0 removed before, 1 unknown, 0 refused" in said
        assert f"unknown: {unknown}" in said
        assert gone not in rows_of_traders(deployment) | partitions(deployment)
        assert unknown not in read_wanted(deployment.store).entries
        assert "0 removed, 1 removed before" in told(deployment, "wallets", "remove", gone)

        found = deployment.reconcile("--apply")
        assert found["counts"] == {"retired": 1, "consistent": 4}
        assert found["findings"][WALLETS.index(gone)]["action"] == "none"
        told(deployment, "backfill", "--refresh")
        assert {item.wallet for item in served.state.counts.log} <= {*WALLETS} - {gone}
        assert deployment.table() == truth(WORLD), "data stays"
        assert gone not in partitions(deployment)
        stands = status(deployment)
        assert (stands["total"], stands["removed"], stands["complete"]) == (4, 1, 4)
        # A row that somebody writes does not bring it back, and is said.
        deployment.execute("INSERT INTO {}traders VALUES (@wallet)", wallet=gone)
        assert f"{gone} was removed" in told(deployment, "backfill")
        assert gone not in partitions(deployment)
        assert "a row of `traders` or a partition is left" in " ".join(
            status(deployment)["next_steps"]
        )

        # Nor does a partition, of a removal that was killed or of a run that was queued before it.
        _not_fetched_although_it_is_a_partition(deployment, served, gone)

        served.state.counts.reset()
        told(deployment, "wallets", "add", gone)
        told(deployment, "backfill")
        assert served.state.counts.trade_requests == 0, "it was fetched again"
        assert deployment.reconcile("--verify")["counts"] == {"consistent": 5}
        assert deployment.table() == truth(WORLD)


def _not_fetched_although_it_is_a_partition(
    deployment: Deployment, served: Served, gone: str
) -> None:
    served.state.counts.reset()
    with deployment.instance() as instance:
        register(instance, [gone])
        deployment.fetch(instance, select="all", wallets=[gone, WALLETS[0]])
    assert {item.wallet for item in served.state.counts.log} <= {WALLETS[0]}
    assert gone in partitions(deployment)
    told(deployment, "backfill", "--refresh")
    assert {item.wallet for item in served.state.counts.log} <= {*WALLETS} - {gone}
    assert gone not in partitions(deployment)


def test_purged_trades_are_gone_also_from_a_table_that_is_made_again(deployed: Deployed):
    gone = [WALLETS[0], WALLETS[3]]
    with filled(deployed) as (deployment, served):
        deployment.execute(
            "INSERT INTO {}trades (wallet_address, id, timestamp) VALUES (@wallet, 'of an old job',"
            " TIMESTAMP '2023-01-01 00:00:00'), (@wallet, 'of a clock that was ahead',"
            " TIMESTAMP '2100-01-01 00:00:00')",
            wallet=gone[0].upper().replace("X", "x"),
        )
        said = told(deployment, "wallets", "remove", "--purge", *gone)
        assert "2 removed" in said
        assert "what was collected of 2 wallets is deleted" in said
        assert deployment.table() == left(gone)
        assert not any(segments(deployment, wallet) for wallet in gone)
        assert {state(deployment, wallet) for wallet in gone} == {State.PURGED}
        assert deployment.reconcile("--apply", "--verify")["counts"] == {
            "retired": 2,
            "consistent": 3,
        }
        manifests = [item.name for item in deployment.store.list("combined/manifests/")]
        assert "what was collected of 0 wallets is deleted" in told(
            deployment, "wallets", "remove", "--purge", *gone
        )
        assert [item.name for item in deployment.store.list("combined/manifests/")] == manifests

        Path(deployment.settings.warehouse).unlink()
        assert "3 wallets were added from the store's list" in told(deployment, "backfill")
        assert deployment.table() == left(gone)
        assert rows_of_traders(deployment) == partitions(deployment) == {*WALLETS} - {*gone}
        assert served.state.counts.trade_requests == 0

        told(deployment, "wallets", "add", gone[0])
        told(deployment, "backfill")
        assert {item.wallet for item in served.state.counts.log} == {gone[0]}
        assert deployment.table() == left(gone[1:])
        assert deployment.reconcile("--verify")["counts"] == {"retired": 1, "consistent": 4}

        # A purge that waits for a fetch; meanwhile its wallet is added again.
        with deployment.instance() as instance:
            retire(instance, deployment.store, deployment.warehouse, [gone[0]], purge=True)
            fetching = instance_locks(instance).try_acquire(SOURCE, this_process("fetch"))
            assert fetching

            def add_again(waiting: str) -> None:
                assert waiting.startswith("Waiting for")
                told(deployment, "wallets", "add", gone[0])
                fetching.release()

            assert purge(instance, deployment.settings, [gone[0]], add_again) == []
        assert deployment.table() == left(gone[1:])
        assert deployment.reconcile("--verify")["counts"] == {"retired": 1, "consistent": 4}


def test_what_the_first_fetch_of_another_feed_brings_while_a_purge_waits_is_purged_too(
    deployed: Deployed,
):
    world = generate(71, 3, most_trades=40, ledgers=True)
    wallets = sorted(wallet.lower() for wallet in world.wallets())
    with deployed(world, POLYCOPY_FEEDS="trades,activity") as (deployment, _):
        told(deployment, "wallets", "add", *wallets)
        told(deployment, "backfill")
        everything, away = deployment.root / "store" / "activity", deployment.root / "away"
        with deployment.instance() as instance:
            retire(instance, deployment.store, deployment.warehouse, [wallets[0]], purge=True)
            everything.rename(away)  # it is not fetched yet
            fetching = instance_locks(instance).try_acquire(SOURCE, this_process("fetch"))
            assert fetching

            def fetched(waiting: str) -> None:
                if waiting.startswith("Waiting for"):
                    away.rename(everything)
                    fetching.release()

            purged = purge(instance, deployment.settings, [wallets[0]], fetched)
            assert purged == [wallets[0]]
        ledger = deployment.warehouse.table(ACTIVITY)
        assert ledger.rows_by_wallet().keys() == {*wallets[1:]}
        left = [item.name for item in deployment.store.whole.list("activity/segments/")]
        assert left
        assert not any(wallets[0] in name for name in left)


def test_from_the_store_alone_everybody_who_was_wanted_comes_back(deployed: Deployed):
    """By the commands of docs/operations.md; rows that people wrote by SQL are among them."""
    by_sql, gone = "0x" + "c" * 40, WALLETS[2]
    with filled(deployed) as (deployment, served):
        told(deployment, "wallets", "remove", gone)
        told(deployment, "wallets", "add", NEVER)
        deployment.execute("INSERT INTO {}traders VALUES (@wallet)", wallet=by_sql.upper())
        assert status(deployment)["without_partition"] == 1
        with deployment.instance() as instance:
            register(instance, [by_sql])  # as a sensor that died after that
        assert state(deployment, by_sql) is None
        deployment.reconcile("--apply")  # the source is not asked: NEVER is remaining
        told(deployment, "backfill", WALLETS[0])
        assert state(deployment, by_sql) is State.WANTED
        assert served.state.counts.trade_requests == 0

        Path(deployment.settings.warehouse).unlink()
        deployment.lose_record()
        told(deployment, "init")
        found = deployment.reconcile(code=1)
        assert found["counts"] == {"orphan": 5, "unlisted": 2}
        assert rows_of_traders(deployment) == set(), "looking changes nothing"
        deployment.reconcile("--apply")
        wanted = {*WALLETS, NEVER, by_sql} - {gone}
        assert rows_of_traders(deployment) == partitions(deployment) == wanted
        told(deployment, "backfill")
        assert {item.wallet for item in served.state.counts.log} == {NEVER, by_sql}
        assert deployment.table() == truth(WORLD), "the data of the removed wallet stays"
        assert deployment.reconcile("--verify")["counts"] == {"retired": 1, "consistent": 6}
        assert len(list(deployment.store.list(WANTED))) < 10


def test_status_says_where_rows_and_partitions_differ_and_what_to_do(deployed: Deployed):
    row, partition, both, half = WALLETS[:4]
    with filled(deployed) as (deployment, _):
        assert "`polycopy backfill --refresh`" in " ".join(status(deployment)["next_steps"])
        told(deployment, "wallets", "remove", half)
        deployment.execute(
            "DELETE FROM {}traders WHERE wallet_address IN (@one, @two)", one=partition, two=both
        )
        with deployment.instance() as instance:
            unregister(instance, [row, both])
            register(instance, [half])
        found = status(deployment)
        assert (found["without_row"], found["without_partition"]) == (1, 1)
        first = found["next_steps"]
        assert [next(w for w in WALLETS if w in step) for step in first[:4]] == [
            half,
            both,
            partition,
            row,
        ]
        text = told(deployment, "status")
        assert all(step in text for step in first)
        record = "dagster" if deployment.settings.instance == "files" else "Postgres"
        for where in (deployment.settings.store, deployment.settings.warehouse, record):
            assert where in text
        # What they say helps.
        told(deployment, "wallets", "remove", half)
        told(deployment, "wallets", "add", partition)
        deployment.reconcile("--apply")
        found = status(deployment)
        assert (found["without_row"], found["without_partition"], found["total"]) == (0, 0, 4)
        assert rows_of_traders(deployment) == partitions(deployment) == {*WALLETS} - {half}


def busy(*_: object) -> None:
    raise WarehouseBusy("it is held by somebody")


def test_wallets_are_listed_failed_ones_have_reasons_and_some_can_be_fetched(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    with deployed(WORLD) as (deployment, served):
        broken = WALLETS[4]
        served.state.faults.wallets[broken] = "404"
        told(deployment, "wallets", "add", *WALLETS)
        said = told(deployment, "backfill", "nonsense", code=2)
        assert "'nonsense' is not a wallet" in said
        said = told(deployment, "backfill", NEVER, code=2)
        assert f"not collected: {NEVER}. `polycopy wallets add`" in said
        with monkeypatch.context() as patch:
            patch.setattr(backfill, "check_usable", busy)
            said = told(deployment, "backfill", NEVER, code=1)
        assert "it is held by somebody" in said, "it may be in the table that cannot be read"
        assert served.state.counts.trade_requests == 0
        found = json.loads(deployment.here("backfill", "--json", *WALLETS[:2])[1])
        assert (found["wallets"], found["complete"], found["remaining"]) == (2, 2, 0)
        assert {item.wallet for item in served.state.counts.log} == {*WALLETS[:2]}
        assert deployment.here("backfill", broken)[0] == 1
        told(deployment, "wallets", "remove", WALLETS[1])

        (failed,) = json.loads(deployment.here("status", "--failed", "--json")[1])["failed"]
        assert (failed["wallet"], failed["attempts"]) == (broken, 1)
        assert failed["reason"]
        text = told(deployment, "status", "--failed")
        assert f"{broken}  {failed['reason'].replace(f' of {broken}', '')}" in text
        assert (failed["reason"].count(broken), text.count(broken)) == (1, 1), "each address once"
        assert "1 wallet failed" in text

        found = json.loads(deployment.here("wallets", "list", "--json")[1])
        assert found["total"] == 5
        by_wallet = {item["wallet"]: item for item in found["wallets"]}
        assert {w: by_wallet[w]["state"] for w in WALLETS} == dict(
            zip(WALLETS, ["complete", "removed", "remaining", "remaining", "failed"], strict=True)
        )
        assert by_wallet[broken]["error"] == failed["reason"]
        assert by_wallet[WALLETS[0]]["trades"] == len(WORLD.truth(WALLETS[0]))
        assert by_wallet[WALLETS[0]]["covered_until"] > 1_700_000_000
        assert by_wallet[WALLETS[2]]["covered_until"] is None
        lines = told(deployment, "wallets", "list", "--limit", "2").splitlines()
        assert lines[0].split() == ["wallet", "state", "trades", "covered", "until"]
        assert lines[1].startswith(WALLETS[0])
        assert lines[3].startswith("3 more: --limit 0")
        only = told(deployment, "wallets", "list", "--state", "failed").splitlines()
        assert [line.split()[0] for line in only] == ["wallet", broken]
        assert only[1].count(broken) == 1
        deployment.environ["COLUMNS"] = "40"
        with in_terminal(deployment, "wallets", "list", "--limit", "4") as terminal:
            assert terminal.end() == 0
        *wallets, last = terminal.lines[1:]
        assert max(map(len, wallets)) <= 40
        # A reason has a line of its own.
        assert [line[:4] for line in wallets if line[0] != " "] == [
            wallet[:4] for wallet in by_wallet
        ][:4]
        assert last.startswith("1 more")


def test_without_a_database_removed_wallets_stay_removed_and_purged_ones_purged(
    deployed: Deployed,
):
    """Each command makes its instance from the store, which still has the segments of one."""
    gone, purged = WALLETS[:2]
    with filled(deployed, POLYCOPY_INSTANCE="ephemeral") as (deployment, served):
        told(deployment, "wallets", "remove", gone)
        told(deployment, "wallets", "remove", "--purge", purged)
        told(deployment, "backfill", "--refresh")
        assert {item.wallet for item in served.state.counts.log} <= {*WALLETS[2:]}
        assert deployment.table() == left([purged])
        stands = status(deployment)
        assert (stands["total"], stands["complete"], stands["removed"]) == (3, 3, 2)
        assert deployment.reconcile("--apply")["counts"] == {"retired": 2, "consistent": 3}
        served.state.counts.reset()
        Path(deployment.settings.warehouse).unlink()
        told(deployment, "wallets", "add", gone)
        told(deployment, "backfill")
        assert served.state.counts.trade_requests == 0
        assert deployment.table() == left([purged])
        assert rows_of_traders(deployment) == {*WALLETS} - {purged}
