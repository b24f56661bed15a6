"""`docs/formats.md` is true: a reader that knows that page alone reads what we write.

The first half of this file is such a reader. It imports nothing of ours.
"""

import base64
import fcntl
import gzip
import hashlib
import json
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import google_crc32c
import msgspec
import polars as pl
import pytest

from polycopy_assets.demo.world import Trade, v2_row
from polycopy_assets.errors import Kind
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.guard.heartbeat import run_lock
from polycopy_assets.guard.lock import FileLocks, this_process
from polycopy_assets.record import attempts, materializations, refetching, store_id
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.identity import read_id
from polycopy_assets.trades.cutter import Cutter, Draft
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import disjoint
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.segment import Segment
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import END, WALLETS, WORLD, Bench, duckdb_sql, middle
from polycopy_assets_tests.of_trades import Directory, record_in, segment_name

HEADER = bytes.fromhex("1f8b08100000000000ff")
SEGMENT = re.compile(r"trades/(0x[0-9a-f]{40})/([0-9]{10})-([0-9]{10})\.jsonl\.gz")
Rows = list[dict[str, Any]]


def checksum(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"


def read_segment(root: Path, name: str) -> tuple[str, Rows]:
    """Who served a segment, and its rows."""
    data = (root / name).read_bytes()
    assert data.startswith(HEADER)
    source = data[len(HEADER) : data.index(b"\0", len(HEADER))].decode("latin-1")
    return source, [json.loads(line) for line in gzip.decompress(data).split(b"\n")[:-1]]


def name_of(wallet: str, row: Mapping[str, Any]) -> str:
    return f"trades/{wallet}/{row['start']:010}-{row['until']:010}.jsonl.gz"


def counts_from(row: Mapping[str, Any]) -> int:
    return row["start"] if row["claim_start"] is None else row["claim_start"]


def recorded(text: str) -> tuple[int, list[dict[str, Any]]]:
    """Until when a record covers its wallet, and its segments."""
    form, covered_until, *parts = text.split(" ")
    assert form == "2"
    table: list[dict[str, Any]] = []
    for part in parts:
        packed, *unusual = part.split(",")
        numbers = struct.unpack(">IIIIIIQ", base64.b64decode(packed + "="))
        length, rows, size, crc32c, first, last, digest = numbers
        flags = {flag[0]: flag[2:] for flag in unusual}
        start = int(flags.get("s", table[-1]["until"] if table else 0))
        claim = int(flags["c"]) if "c" in flags else None
        row = {
            "start": start,
            "until": start + length,
            "rows": rows,
            "size": size,
            "crc32c": f"{crc32c:08x}",
            "claim_start": claim,
            "source": flags.get("a", table[-1]["source"] if table else ""),
            "digest": f"{digest:016x}",
        }
        row["first"] = (start if claim is None else claim) + first if rows else None
        row["last"] = row["until"] - last if rows else None
        table.append(row)
    return int(covered_until), table


def digest_of(rows: Rows) -> int:
    """The digest of rows as served, newest first: the sum over their seconds."""
    seconds: defaultdict[int, bytes] = defaultdict(bytes)
    for row in rows:
        seconds[row["timestamp"]] += msgspec.json.encode(row) + b"\n"
    hashes = (hashlib.blake2b(lines, digest_size=8).digest() for lines in seconds.values())
    return sum(int.from_bytes(each, "big") for each in hashes) % 2**64


def as_served(trades: Sequence[Trade]) -> Rows:
    return [json.loads(msgspec.json.encode(v2_row(trade))) for trade in trades]


def version_of(wallet: str) -> str:
    """The data version of a record of all trades of `wallet`."""
    rows = as_served(WORLD.truth(wallet))
    return f"rows-{len(rows)}-{digest_of(rows):016x}"


def batches(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((root / "combined/manifests").glob("*.json")):
        manifest = json.loads(path.read_bytes())
        assert path.name == f"{manifest['batch']:08}.json"
        assert manifest["schema"] == 2
        yield manifest


def read_table(root: Path) -> set[tuple[Any, ...]]:
    """What the table holds once all batches are loaded: wallet, id, second, sequence."""
    table: set[tuple[Any, ...]] = set()
    for manifest in batches(root):
        claims = [(c["wallet"], c["start"], c["until"]) for c in manifest["claims"]]
        table = {r for r in table if not any(r[0] == w and a <= r[2] < u for w, a, u in claims)}
        for part in manifest["parts"]:
            data = (root / part["name"]).read_bytes()
            assert (len(data), checksum(data)) == (part["size"], part["crc32c"])
            frame = pl.read_parquet(data)
            assert frame["claim_until"].is_null().all()
            assert len(frame) == part["rows"]
            frame = frame.with_columns(second=pl.col("timestamp").dt.epoch("s"))
            table |= set(frame.select("wallet_address", "id", "second", "sequence").rows())
    return table


def ids(wallet: str, rows: Rows) -> set[tuple[Any, ...]]:
    """The same from a wallet's rows as served, newest first."""
    fills: defaultdict[tuple[int, str], list[tuple[Any, ...]]] = defaultdict(list)
    seconds: defaultdict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        order = (row["token_id"], row["side"], row["price"], row["size"], place)
        fills[row["timestamp"], row["transaction_hash"].lower()].append(order)
        seconds[row["timestamp"]].append(place)
    return {
        (wallet, f"{tx}-{n}", second, seconds[second][-1] - order[-1])
        for (second, tx), every in fills.items()
        for n, order in enumerate(sorted(every))
    }


# -- what we write ------------------------------------------------------------------------------


def drafts(
    wallet: str, until: int = END, *, start: int = 0, segment_bytes: int = 10**7
) -> Iterator[Draft]:
    """A wallet's trades from `start` to `until`, cut as a fetch cuts them."""
    cutter = Cutter(until, "polymarket", segment_bytes)
    for trade in WORLD.truth(wallet):
        if start <= trade.timestamp < until:
            raw = msgspec.json.encode(v2_row(trade))
            if draft := cutter.add(Row(wallet, trade.timestamp, trade.tx_hash, raw)):
                yield draft
    yield cutter.finish(start)


def stored(bench: Bench, wallet: str, every: Sequence[Draft]) -> tuple[Segment, ...]:
    """What a record names once `every` is stored."""
    of = {draft.span: draft for draft in every}
    found = []
    for span, claim in disjoint(of):
        draft = of[span]
        bench.store.create(segment_name(wallet, span), draft.payload)
        trades = [t for t in WORLD.truth(wallet) if claim.start <= t.timestamp < claim.until]
        segment = Segment(
            folder="trades/",
            wallet=wallet,
            start=span.start,
            until=span.until,
            rows=len(trades),
            size=len(draft.payload),
            crc32c=crc32c(draft.payload),
            first=trades[-1].timestamp if trades else None,
            last=trades[0].timestamp if trades else None,
            claim_start=None if claim == span else claim.start,
            source="polymarket",
            digest=f"{digest_of(as_served(trades)):016x}" if trades else None,
        )
        found.append(segment)
    bench.segments[wallet] = found
    return tuple(found)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def bench(root: Path) -> Bench:
    warehouse = DuckDBWarehouse(root.parent / "w.duckdb", lock_wait=0.5)
    return Bench(Directory(root), warehouse, duckdb_sql(warehouse.path))


def event_of(segments: Sequence[Segment]) -> tuple[str, dict[str, dg.MetadataValue]]:
    fetched = Fetched(
        wallet=segments[0].wallet,
        source="polymarket",
        segments=tuple(segments),
        covered_until=segments[-1].until,
        horizon=Horizon(until=END, at=END + 305, lag=5),
        new_rows=1,
        requests=2,
        unknown_fields={"odd": 3},
        oddities={"price above 1": 1},
        seconds=0.1234,
    )
    version, metadata = materializations.describe(fetched)
    return version, dict(metadata)


def test_a_record_leads_to_the_rows_as_served(root: Path, bench: Bench):
    wallet = WALLETS[0]
    version, metadata = event_of(stored(bench, wallet, list(drafts(wallet, segment_bytes=1))))
    text = metadata["segments"].value
    assert isinstance(text, str)
    covered_until, table = recorded(text)
    assert covered_until == END
    rows: Rows = []
    for record in reversed(table):
        source, served = read_segment(root, name_of(wallet, record))
        assert source == record["source"] == "polymarket"
        assert record["digest"] == f"{digest_of(served):016x}"
        times = [row["timestamp"] for row in served]
        assert (record["first"], record["last"]) == (min(times), max(times))
        found = SEGMENT.fullmatch(name_of(wallet, record))
        assert found
        assert all(int(found[2]) <= row["timestamp"] < int(found[3]) for row in served)
        rows += served
    assert len(table) > 3, "it was cut"
    assert rows == as_served(WORLD.truth(wallet))
    assert version == version_of(wallet)


def test_the_metadata_of_a_record_has_these_keys_and_types(bench: Bench):
    _, metadata = event_of(stored(bench, WALLETS[0], list(drafts(WALLETS[0]))))
    assert {
        name: type(value).__name__.removesuffix("MetadataValue") for name, value in metadata.items()
    } == {
        "dagster/row_count": "Int",
        "new_rows": "Int",
        "covered_until": "Timestamp",
        "stored": "Text",
        "segments": "Text",
        "fetch": "Json",
        "first_trade": "Timestamp",
        "last_trade": "Timestamp",
        "unknown_fields": "Json",
        "oddities": "Json",
    }
    how = metadata["fetch"].value
    assert isinstance(how, dict)
    assert set(how) == {"source", "requests", "seconds", "horizon"}
    horizon = how["horizon"]
    assert isinstance(horizon, dict)
    assert set(horizon) == {"until", "at", "lag", "age", "clock_difference"}


def test_overlapping_segments_count_each_second_once(root: Path, bench: Bench):
    wallet, cut = WALLETS[1], middle(WALLETS[1])
    older, newer = list(drafts(wallet, cut)), list(drafts(wallet, start=cut - 10**7))
    segments = stored(bench, wallet, [*older, *newer])
    assert any(segment.claim_start is not None for segment in segments)
    version, metadata = event_of(segments)
    assert version == version_of(wallet)
    rows: Rows = []
    for record in reversed(recorded(str(metadata["segments"].value))[1]):
        _, served = read_segment(root, name_of(wallet, record))
        rows += [row for row in served if row["timestamp"] >= counts_from(record)]
    assert len(rows) == len(WORLD.truth(wallet))


def test_the_batches_in_their_order_are_the_table(root: Path, bench: Bench):
    one, other = WALLETS[:2]
    stored(bench, one, list(drafts(one, middle(one))))
    assert bench.combine()
    stored(bench, one, list(drafts(one)))  # goes over what the first batch claims
    stored(bench, other, list(drafts(other, segment_bytes=1)))
    assert bench.combine()
    bench.load()
    wanted = set().union(*(ids(w, [v2_row(t) for t in WORLD.truth(w)]) for w in (one, other)))
    assert read_table(root) == wanted
    loaded = bench.sql("SELECT wallet_address, id, epoch(timestamp)::BIGINT, sequence FROM trades")
    assert set(loaded) == wanted
    assert bench.sql("SELECT batch, rows FROM polycopy_batches ORDER BY 1") == [
        (manifest["batch"], manifest["rows"]) for manifest in batches(root)
    ]


def test_a_manifest_and_its_claims_part_say_the_same(root: Path, bench: Bench):
    for wallet in WALLETS[:3]:
        stored(bench, wallet, list(drafts(wallet, segment_bytes=1)))
    assert bench.combine()
    (manifest,) = batches(root)
    assert list(manifest) == ["batch", "rows", "parts", "claims", "claims_part", "schema"]
    for claim in manifest["claims"]:
        data = (root / claim["segment"]).read_bytes()
        assert (len(data), checksum(data)) == (claim["size"], claim["crc32c"])
        assert claim["version"] == bench.versions[claim["wallet"]]
    frame = pl.read_parquet(root / manifest["claims_part"]["name"])
    assert frame.columns == pl.read_parquet(root / manifest["parts"][0]["name"]).columns
    rows = frame.select("wallet_address", "claim_start", "claim_until").rows()
    assert [(w, a.timestamp(), u.timestamp()) for w, a, u in rows] == [
        (wallet, 0, END) for wallet in sorted(WALLETS[:3])
    ]
    others = frame.drop("wallet_address", "claim_start", "claim_until")
    assert all(others[name].is_null().all() for name in others.columns)


def test_a_wallet_without_trades_has_this_version(bench: Bench):
    wallet = "0x" + "5" * 40
    (segment,) = stored(bench, wallet, [Cutter(END, "polymarket").finish(0)])
    assert segment.size > 0
    assert event_of([segment])[0] == "rows-0-0000000000000000"


def test_a_revocation_and_a_failed_attempt_look_like_this():
    wallet = WALLETS[0]
    event = materializations.revocation(TRADES, wallet, "gone", 1_700_000_000)
    version = (event.tags or {})["dagster/data_version"]
    assert re.fullmatch(r"revoked-1700000000-[0-9a-f]{16}", version)
    assert event.metadata["revoked"].value == "gone"

    failed = Failed(wallet=wallet, reason="contract: a reason", kind=Kind.CONTRACT)
    noted = attempts.observation(TRADES, failed, None)
    assert (noted.partition, noted.description) == (wallet, "contract: a reason")
    assert set(noted.metadata) == {
        "reason",
        "kind",
        "failed_attempt",
        "failed_at",
        "next_attempt",
    }
    assert noted.metadata["failed_attempt"].value == 1
    seventh = attempts.Attempt(wallet=wallet, number=6, at=0.0, kind=Kind.CONTRACT, reason="")
    assert isinstance(
        attempts.observation(TRADES, failed, seventh).metadata["next_attempt"], dg.TextMetadataValue
    )


def test_marker_identity_and_notes_look_like_this(root: Path):
    store, wallet = Directory(root), WALLETS[0]
    names = [
        f"trades/{wallet}/{10:010}-{20:010}.jsonl.gz",
        f"trades/{wallet}/{0:010}-{10:010}.jsonl.gz",
    ]
    refetch.begin(store, wallet, names)
    assert json.loads((root / f"trades/{wallet}/refetch.json").read_bytes()) == sorted(names)
    with dg.DagsterInstance.local_temp() as instance:
        store_id.checked(instance, store)
        refetching.note(record_in(instance), wallet, refetching.State.BEGUN)
        keys = {"polycopy/store_id", "polycopy/refetching"}
        notes = instance.daemon_cursor_storage.get_cursor_values(keys)
    written = json.loads((root / "store-identity.json").read_bytes())
    assert written == {"id": read_id(store)}
    assert re.fullmatch(r"[0-9a-f]{32}", written["id"])
    assert notes["polycopy/store_id"] == written["id"]
    assert json.loads(notes["polycopy/refetching"]) == {wallet: "begun"}


def test_a_lock_is_a_file_that_says_who_holds_it(tmp_path: Path):
    locks = FileLocks(tmp_path / "locks")
    assert run_lock("1a2b") == "run-1a2b"
    lock = locks.try_acquire("source", this_process("fetch", "1a2b"))
    assert lock is not None
    path = tmp_path / "locks" / "source.lock"
    said = json.loads(path.read_bytes())
    assert said.keys() == {"what", "run_id", "since", "host", "pid", "session"}
    assert said["session"] == 0
    with path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release()
    path.write_bytes(b"")  # what a process that was killed leaves
    assert locks.holder("source") is None
