"""Every object of a batch damaged in every way: the table is the truth, and nobody is asked again.

The matrix is generated: each kind of object times each kind of damage, and each field of a manifest
times what it must not be. Segments and markers are damaged in `test_damage_matrix.py`.
"""

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest

from polycopy_assets.batches.manifests import read_batches, read_manifests
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.errors import StoreError
from polycopy_assets.pipeline import combine as recombine
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.batch import Manifest
from polycopy_assets_tests.deployment import Deployment, new_trades, sample_api, truth
from polycopy_assets_tests.of_trades import MANIFESTS, manifest_name

pytestmark = pytest.mark.exhaustive

WALLETS = 4


class Whole(NamedTuple):
    """A deployment with two batches of every wallet's trades, all of it loaded."""

    world: World
    api: Served
    deployment: Deployment


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    root = tmp_path_factory.mktemp("whole")
    world = generate(51, WALLETS, whales=1, whale_trades=300, most_trades=9)
    with sample_api(world, lag_seconds=int(time.time()) - LAST - 700) as api:
        deployment = Deployment(root, api.url)
        wallets = [wallet.lower() for wallet in world.wallets()]
        deployment.want(wallets)
        deployment.backfill()
        api.state.lag_seconds -= 1000
        for number, wallet in enumerate(wallets):
            world.add(new_trades(wallet, LAST + 500 + 50 * number, 5))
        deployment.backfill(refresh=True)
        assert [item.batch for item in read_batches(deployment.store).sound] == [1, 2]
        assert deployment.table() == truth(world)
        yield Whole(world, api, deployment)


class Scene:
    """A copy of it, to be damaged."""

    def __init__(self, whole: Whole, root: Path) -> None:
        self.whole = whole
        self.deployment = whole.deployment.copied(root, whole.api.url)
        (root / "beside").write_bytes(b"not of the store")
        self.root = root / "store"
        self.before = self.untouchable()
        whole.api.state.counts.reset()

    def path(self, name: str) -> Path:
        """An object's file."""
        return self.root / name

    def manifest(self, number: int) -> Manifest:
        """A manifest, as it is."""
        return Manifest.decode(self.path(manifest_name(number)).read_bytes())

    def untouchable(self) -> dict[str, str]:
        """What no repair of batches may change."""
        files = [*(self.root / "trades").rglob("*.gz"), self.root.parent / "beside"]
        return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def lose_table(self) -> None:
        """The DuckDB file is gone."""
        (self.root.parent / "warehouse.duckdb").unlink()

    def is_right(self) -> None:
        """The table is the truth, no trade was asked for, and nothing else was changed."""
        assert self.deployment.table() == truth(self.whole.world)
        assert not self.whole.api.state.counts.requests
        assert self.untouchable() == self.before

    def repaired(self) -> None:
        """After one backfill everything is right, a second look finds nothing, and it stays so."""
        report = self.deployment.backfill()
        assert (report.errors, report.failed_checks, report.remaining) == ([], [], 0)
        self.is_right()
        told = self.deployment.reconcile()
        assert told["counts"] == {"consistent": WALLETS}
        assert told["broken_batches"] == []


@pytest.fixture
def scene(whole: Whole, tmp_path: Path) -> Scene:
    return Scene(whole, tmp_path / "copy")


# -- bytes --------------------------------------------------------------------------------------

Name = Callable[[Scene, int], str]


def the_manifest(scene: Scene, number: int) -> str:
    del scene
    return manifest_name(number)


def a_part(scene: Scene, number: int) -> str:
    return scene.manifest(number).parts[0].name


def the_claims(scene: Scene, number: int) -> str:
    part = scene.manifest(number).claims_part
    assert part is not None
    return part.name


def flip(path: Path, other: Path) -> None:
    del other
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path, other: Path) -> None:
    del other
    path.write_bytes(path.read_bytes()[:-7])


def add(path: Path, other: Path) -> None:
    del other
    path.write_bytes(path.read_bytes() + b"more")


def empty(path: Path, other: Path) -> None:
    del other
    path.write_bytes(b"")


def remove(path: Path, other: Path) -> None:
    del other
    path.unlink()


def swap(path: Path, other: Path) -> None:
    mine, others = path.read_bytes(), other.read_bytes()
    path.write_bytes(others)
    other.write_bytes(mine)


def rename(path: Path, other: Path) -> None:
    del other
    path.rename(path.with_name(f"{path.name}.bak"))


def elsewhere(path: Path) -> Path:
    """A manifest's path with another number; beside a file of a batch, another file."""
    return path.with_name(path.name.replace("0000", "0007", 1).replace("claims", "part-00001"))


def renumber(path: Path, other: Path) -> None:
    del other
    path.rename(elsewhere(path))


def double(path: Path, other: Path) -> None:
    del other
    shutil.copy(path, elsewhere(path))
    shutil.copy(path, path.with_name(f"copy-of-{path.name}"))


OBJECTS: tuple[Name, ...] = (the_manifest, a_part, the_claims)
DAMAGES = (flip, cut, add, empty, remove, swap, rename, renumber, double)


def word(item: object) -> str:
    return getattr(item, "__name__", str(item))


CASES = [
    (what, damage, 1 + number % 2)  # the first batch and the last in turn
    for number, (what, damage) in enumerate(product(OBJECTS, DAMAGES))
]


@pytest.mark.parametrize(("what", "damage", "number"), CASES, ids=word)
def test_a_batch_whose_object_is_damaged_is_combined_again_when_the_table_is_lost(
    scene: Scene, what: Name, damage: Callable[[Path, Path], None], number: int
):
    damage(scene.path(what(scene, number)), scene.path(what(scene, 3 - number)))
    scene.lose_table()
    scene.repaired()


# -- fields of a manifest -----------------------------------------------------------------------


def edited(scene: Scene, number: int, edit: Callable[[dict[str, Any]], object]) -> None:
    """Writes a manifest over, so that it is still one, and something in it is not true."""
    path = scene.path(manifest_name(number))
    fields = msgspec.json.decode(path.read_bytes())
    edit(fields)
    path.write_bytes(msgspec.json.encode(fields))


def claim_with(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["claims"][0].update(fields)


def part_with(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["parts"][0].update(fields)


def whale(manifest: dict[str, Any]) -> dict[str, Any]:
    return max(manifest["claims"], key=lambda item: item["rows"])


OTHER = "0x" + "9" * 40
EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another number": lambda m: m.update(batch=99_999_999),
    "10^18 rows": lambda m: m.update(rows=10**18),
    "one row more": lambda m: m.update(rows=m["rows"] + 1),
    "no rows": lambda m: m.update(rows=0),
    "a part of other rows": lambda m: m["parts"][0].update(rows=m["rows"] - 1),
    "a part of rows below none": part_with(rows=-1),
    "a part of size below none": part_with(size=-1),
    "a part without a checksum": part_with(crc32c=""),
    "a part elsewhere": part_with(name="trades/x/part-00000.parquet"),
    "a part above": part_with(name="combined/parts/00000001/../../x/part.parquet"),
    "a part that is many": part_with(name="combined/parts/00000001/x/*.parquet"),
    "a part of another batch": part_with(name="combined/parts/00000007/x/part-00000.parquet"),
    "no part": lambda m: m.update(parts=[]),
    "a part twice": lambda m: m["parts"].append(m["parts"][0]),
    "no file of claims": lambda m: m.update(claims_part=None),
    "a file of more claims": lambda m: m["claims_part"].update(rows=7),
    "no claims": lambda m: m.update(claims=[]),
    "a claim less": lambda m: m["claims"].remove(whale(m)),
    "a claim twice": lambda m: m["claims"].append(whale(m)),
    "a claim until 2^62": claim_with(until=2**62),
    "a claim until 10^10": claim_with(until=10**10),
    "a claim from before the beginning": claim_with(start=-1),
    "a claim of no time": lambda m: whale(m).update(start=whale(m)["until"]),
    "a claim beyond its segment": lambda m: whale(m).update(until=whale(m)["until"] + 1),
    "a claim of rows below none": claim_with(rows=-5),
    "a claim of no wallet": claim_with(wallet="0x1"),
    "a claim of a wallet in capitals": lambda m: whale(m).update(wallet=whale(m)["wallet"].upper()),
    "a claim of another wallet": claim_with(wallet=OTHER),
    "a claim on another's segment": claim_with(
        segment=f"trades/{OTHER}/0000000000-2000000000.jsonl.gz"
    ),
    "a claim on no segment": claim_with(segment="combined/manifests/00000001.json"),
    "a claim without a checksum": claim_with(crc32c="?"),
    "a claim of a time that is none": claim_with(first=2**70, last=2**70),
    "a claim that is a word": claim_with(rows="many"),
    "nested": lambda m: m.update(claims=[[[]]]),
    "a schema and nothing else": lambda m: (m.clear(), m.update(schema=3)),
    "a newer schema and another number": lambda m: m.update(schema=3, batch=7),
    "a schema below all": lambda m: m.update(schema=0),
    "an older schema and no claims": lambda m: m.update(schema=1, claims=[], parts=[]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_manifest_that_does_not_hold_is_set_aside_though_all_is_loaded(
    scene: Scene, edit: Callable[[dict[str, Any]], object]
):
    edited(scene, 1, edit)
    scene.repaired()
    aside = [item.name for item in scene.deployment.store.list("quarantine/")]
    assert [name.rsplit(".", 1)[0] for name in aside] == [f"quarantine/{manifest_name(1)}"]
    claims = [x for item in read_manifests(scene.deployment.store) for x in item.claims]
    held = {(x.segment, x.start, x.crc32c): x.rows for x in claims}
    assert sum(held.values()) == truth(scene.whole.world).total(), "not all of it is in a batch"


@pytest.mark.parametrize("loaded", [False, True], ids=["", "loaded"])
def test_a_number_at_the_end_of_all_numbers_takes_none_away(scene: Scene, loaded: bool):  # noqa: FBT001
    """The next batch was given a number that nobody read back: its rows were missing, for ever."""
    last = 99_999_999
    copy = msgspec.json.decode(scene.path(manifest_name(2)).read_bytes())
    copy["batch"] = last
    for part in (*copy["parts"], copy["claims_part"]):
        part["name"] = part["name"].replace("00000002", str(last))
    shutil.copytree(scene.path("combined/parts/00000002"), scene.path(f"combined/parts/{last}"))
    scene.path(f"{MANIFESTS}{last}.json").write_bytes(msgspec.json.encode(copy))
    if loaded:
        scene.deployment.execute(
            "INSERT INTO polycopy_batches (batch, rows) VALUES (@last, 5)", last=last
        )
    scene.repaired()
    edited(scene, 2, EDITS["one row more"])
    scene.repaired()
    assert max(item.batch for item in read_batches(scene.deployment.store).sound) == 3


# -- what cannot be deleted ---------------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True], ids=["", "and the table is lost"])
def test_a_broken_manifest_that_cannot_be_deleted_is_named_and_combined_again_once(
    scene: Scene,
    lost: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
):
    edited(scene, 1, EDITS["10^18 rows"])
    if lost:
        scene.lose_table()
    held = manifest_name(1)
    delete = LocalStore.delete

    def refused(store: LocalStore, name: str) -> None:
        if name == held:
            raise StoreError(f"cannot delete {name}: a hold")
        delete(store, name)

    monkeypatch.setattr(LocalStore, "delete", refused)
    for _ in range(2):
        report = scene.deployment.backfill()
        (check,) = report.failed_checks
        assert "batches_hold" in check
        assert held in check
        assert "a hold" in check
        scene.is_right()
        assert [item.batch for item in read_batches(scene.deployment.store).sound] == [2, 3]
    told = scene.deployment.reconcile("--apply", code=1)
    assert [item["name"] for item in told["broken_batches"]] == [held]
    assert told["left"] == {"consistent": WALLETS}
    monkeypatch.undo()
    scene.deployment.reconcile("--apply")
    scene.repaired()


# -- found late, and killed in between ------------------------------------------------------------


def test_a_part_that_was_written_over_together_with_its_manifest_is_found_while_it_is_loaded(
    scene: Scene,
):
    path = scene.path(a_part(scene, 1))
    pl.read_parquet(path).with_columns(wallet_address=pl.lit(OTHER)).write_parquet(path)
    data = path.read_bytes()
    edited(scene, 1, part_with(size=len(data), crc32c=crc32c(data)))
    assert not read_batches(scene.deployment.store).broken
    scene.lose_table()
    scene.repaired()
    assert [item.batch for item in read_batches(scene.deployment.store).sound] == [2, 3]


def test_a_load_that_dies_before_it_sets_a_broken_batch_aside_is_taken_up_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    path = scene.path(a_part(scene, 1))
    flip(path, path)
    scene.lose_table()

    def dies(*_: object) -> None:
        raise RuntimeError("as good as killed")

    with monkeypatch.context() as patch:
        patch.setattr(recombine, "set_aside", dies)
        assert "as good as killed" in scene.deployment.backfill().errors[0]
    assert [item.batch for item in read_batches(scene.deployment.store).sound] == [1, 2, 3]
    scene.repaired()
    assert [item.batch for item in read_batches(scene.deployment.store).sound] == [2, 3]


def test_a_load_that_leaves_something_out_says_so(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """It used to end with exit code 0, rows missing."""
    scene.path(manifest_name(2)).unlink()
    monkeypatch.setattr(recombine, "new_claims", lambda *_: [])
    (error,) = scene.deployment.backfill().errors
    assert "succeeded, but 4 wallets are recorded and not combined" in error


# -- by way of a reconciliation, and what came into the table before ------------------------------


@pytest.mark.parametrize("damage", [flip, renumber], ids=word)
@pytest.mark.parametrize("what", OBJECTS, ids=word)
def test_a_reconciliation_puts_it_right_as_well(
    scene: Scene, what: Name, damage: Callable[[Path, Path], None]
):
    damage(scene.path(what(scene, 1)), scene.path(what(scene, 2)))
    scene.lose_table()
    found = scene.deployment.reconcile(code=1)
    assert found["counts"] == {"unloaded": WALLETS}
    told = scene.deployment.reconcile("--apply")
    assert told["left"] == {"consistent": WALLETS}
    scene.repaired()


def test_rows_that_we_loaded_of_a_wallet_that_nothing_knows_are_named_and_deleted(scene: Scene):
    """An older version loaded what a rewritten part held."""
    scene.deployment.execute(
        "INSERT INTO trades BY NAME"
        " SELECT * REPLACE (@other AS wallet_address) FROM trades LIMIT 40",
        other=OTHER,
    )
    for address, source in (
        (f"0x{'8' * 40}", None),
        (f"0x{'7' * 40}", "somebody"),
        (OTHER, None),
        (OTHER.upper(), "polymarket"),
    ):
        scene.deployment.execute(
            "INSERT INTO trades (wallet_address, id, timestamp, source)"
            " VALUES (@address, 'x', TIMESTAMP '2024-01-01', @source)",
            address=address,
            source=source,
        )
    edited(scene, 1, EDITS["no rows"])
    (check,) = scene.deployment.backfill().failed_checks
    assert f"rows_match_record of trades: 1 wallet differs, first {OTHER}: 0 rows" in check
    found = scene.deployment.reconcile(code=1)
    assert found["counts"] == {"unclaimed": 1, "consistent": WALLETS + 2}
    assert [x["wallet"] for x in found["findings"] if x["finding"] == "unclaimed"] == [OTHER]
    scene.deployment.reconcile("--apply")
    rows = scene.deployment.rows("SELECT wallet_address, source FROM trades WHERE id = 'x'")
    assert len(rows) == 4
    scene.deployment.execute("DELETE FROM trades WHERE id = 'x'")
    with scene.deployment.instance() as instance:
        assert set(instance.get_dynamic_partitions("wallets")) == {
            wallet.lower() for wallet in scene.whole.world.wallets()
        }
    scene.is_right()


def test_a_table_of_mostly_unknown_wallets_is_not_emptied(scene: Scene):
    """It may be another store's."""
    scene.deployment.execute(
        "INSERT INTO trades BY NAME SELECT * REPLACE (@other AS wallet_address) FROM trades",
        other=OTHER,
    )
    scene.deployment.execute(
        "INSERT INTO trades BY NAME SELECT * FROM trades WHERE wallet_address = @other LIMIT 1",
        other=OTHER,
    )
    before = Counter(scene.deployment.table())
    told = scene.deployment.reconcile("--apply", code=1)
    assert "is this the table of this store?" in told["failures"][0]["reason"]
    assert scene.deployment.table() == before
