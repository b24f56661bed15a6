"""One odd row stops nobody, and what cannot be read is found, set aside and fetched again."""

import gzip
from collections import Counter
from pathlib import Path

import dagster as dg
import msgspec
import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.odd_rows import ODD_ROWS
from polycopy_assets.demo.world import World, dome_row, v2_row
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.record import materializations
from polycopy_assets.record.private.runless import write
from polycopy_assets.store.base import crc32c
from polycopy_assets.trades.segment import Segment
from polycopy_assets_tests.deployment import Deployed, Deployment, records_of, sample_api, truth
from polycopy_assets_tests.of_trades import MANIFESTS, record_in

REFUSED = {"broken_text", "text_for_time", "huge_time"}
DATA = Path(__file__).parent / "data"


def filled(world: World) -> list[str]:
    """The wallets that have trades, lower case."""
    return [wallet.lower() for wallet in world.wallets() if world.truth(wallet)]


@pytest.mark.parametrize("source", ["polymarket", "dome"])
def test_every_odd_row_stops_nobody_and_no_field_of_it_takes_the_place_of_another(
    tmp_path: Path, source: str
):
    world = generate(41, 30, whales=0, most_trades=40)
    wallets = filled(world)
    faults = dict(zip(ODD_ROWS, wallets, strict=False))
    assert len(faults) == len(ODD_ROWS) < len(wallets)
    with sample_api(world) as served:
        served.state.faults.set_wallets({wallet: kind for kind, wallet in faults.items()})
        deployment = Deployment(
            tmp_path, served.url, POLYCOPY_SOURCE=source, DOME_API_KEY=served.state.dome_key
        )
        deployment.want(world.wallets())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOME_API_KEY", served.state.dome_key)
            report = deployment.backfill()
            again = deployment.backfill()
    kinds = {wallet: kind for kind, wallet in faults.items()}
    failed = {kinds[failure.wallet]: failure.reason for failure in report.failures}
    assert failed.keys() == REFUSED, failed
    assert all(failure.reason.startswith("contract: ") for failure in report.failures)
    assert (report.errors, again.errors) == ([], [])
    complete = [wallet for wallet in world.wallets() if wallet.lower() not in _refused(faults)]
    expected = truth(world, complete)
    strange = world.truth(faults["strange_values"])[0]
    row = (strange.wallet, strange.timestamp, strange.tx_hash, strange.token_id, strange.side)
    expected[(*row, strange.price, strange.size)] -= 1
    expected[(*row, 1.5, -3.0)] += 1
    assert deployment.table() == +expected
    (labels,) = deployment.rows(
        "SELECT count(*) FROM {}trades WHERE title IS NULL AND token_label IS NULL"
    )
    assert labels == (1,)
    with deployment.instance() as instance:
        found = {item.wallet: item for item in records_of(instance, record_in(instance).versions())}
    assert found[faults["huge_number"]].counted("unknown_fields") == ("longer", "unlisted")
    assert "no title" in found[faults["no_labels"]].counted("oddities")
    assert "price above 1" in found[faults["strange_values"]].counted("oddities")
    how = [item.metadata["fetch"].value for item in found.values()]
    assert all(isinstance(each, dict) and each["source"] == source for each in how)


def _refused(faults: dict[str, str]) -> set[str]:
    return {faults[kind] for kind in REFUSED}


def record_segment(
    deployment: Deployment, instance: dg.DagsterInstance, wallet: str, payload: bytes, rows: int
) -> str:
    """Stores and records a segment as an older version would have; its name."""
    segment = Segment(
        folder="trades/",
        wallet=wallet,
        start=0,
        until=LAST + 1,
        rows=rows,
        size=len(payload),
        crc32c=crc32c(payload),
        source="dome" if b'"user"' in gzip.decompress(payload) else "polymarket",
    )
    deployment.store.create(segment.name, payload)
    fetched = Fetched(
        wallet=wallet,
        source="polymarket",
        segments=(segment,),
        covered_until=segment.until,
        new_rows=rows,
        requests=1,
        unknown_fields={},
        seconds=0.0,
    )
    event = materializations.materialization(TRADES, wallet, *materializations.describe(fetched))
    assert list(write(instance, [event]))
    return segment.name


def test_a_recorded_segment_that_cannot_be_read_leaves_out_its_wallet_and_is_fetched_again(
    deployed: Deployed,
):
    world = generate(43, 6, whales=0, most_trades=30)
    wallet, other = filled(world)[:2]
    lines = [msgspec.json.encode(v2_row(trade)) for trade in world.truth(wallet)]
    lines[-1] = lines[-1][:-1] + b',"outcome_index":"one"}'
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        payload = gzip.compress(b"\n".join(lines) + b"\n")
        with deployment.instance() as instance:
            name = record_segment(deployment, instance, wallet, payload, len(lines))
        report = deployment.backfill()
        (check,) = report.failed_checks
        assert wallet in check
        assert f"line {len(lines)}" in check
        assert other not in check
        others = [each for each in world.wallets() if each.lower() != wallet]
        assert deployment.table() == truth(world, others)
        again = deployment.backfill()
        assert again.failed_checks, "the wallet is still left out, and nobody says so"
        assert again.requests == 0
        (finding,) = [
            item
            for item in deployment.reconcile(code=1)["findings"]
            if item["finding"] != "consistent"
        ]
        assert (finding["wallet"], finding["finding"]) == (wallet, "ghost")
        assert "cannot be read" in finding["why"]
        served.state.counts.reset()
        told = deployment.reconcile("--apply")
        assert told["left"] == {"consistent": len(world.wallets())}
        assert set(served.state.counts.requests) == {wallet}
    assert deployment.table() == truth(world)
    kept = [item.name for item in deployment.store.list("quarantine/")]
    assert [each for each in kept if name in each], "what could not be read is not kept"


@pytest.mark.parametrize("source", ["polymarket", "dome"])
def test_a_store_that_holds_odd_segments_of_an_older_version_heals_without_a_request(
    deployed: Deployed, source: str
):
    """Written as the first version wrote them: plain gzip, nothing that says who served it."""
    world = generate(44, 4, whales=0, most_trades=20)
    wallet = filled(world)[0]
    as_row = v2_row if source == "polymarket" else dome_row
    odd = (
        b'"unlisted":1e400',
        b'"half":"\xff"',
        b'"tx_hash_":1,"polycopy_source":"x"',
        b'"log_index":5,"log_index":7' if source == "dome" else b'"log_index":"seven"',
    )
    lines = [msgspec.json.encode(as_row(trade)) for trade in world.truth(wallet)]
    lines = [line[:-1] + b"," + odd[number % len(odd)] + b"}" for number, line in enumerate(lines)]
    with deployed(world) as (deployment, _):
        deployment.want([wallet])
        payload = gzip.compress(b"\n".join(lines) + b"\n")
        with deployment.instance() as instance:
            record_segment(deployment, instance, wallet, payload, len(lines))
        report = deployment.backfill()
    assert (report.failed_checks, report.requests) == ([], 0)
    assert deployment.table() == truth(world, [wallet])
    assert Counter(row[0] for row in deployment.rows("SELECT source FROM {}trades")) == {
        source: len(lines)
    }
    assert list(deployment.store.list(MANIFESTS))
