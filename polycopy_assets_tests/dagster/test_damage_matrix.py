"""Every object in turn damaged in every way: what is lost is fetched again, and nothing else.

A matrix of `OBJECTS` (which object, and what of the source may be asked for again) and `DAMAGES`
(what happens to it), on both stores. To add an object, write a function that puts it there and
returns its `Target`, and name it in `OBJECTS`. After each damage `reconcile --apply` and `backfill`
have to end in a table that is the truth, without touching what lies outside of the store.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.errors import StoreError
from polycopy_assets.fetch import refetch
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.identity import NAME as IDENTITY
from polycopy_assets.store.local import LocalStore
from polycopy_assets.store.quarantine import QUARANTINE, set_aside
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.crash.redone import asked_again
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.of_trades import PREFIX, marker_name, parse_name
from polycopy_assets_tests.stores import KINDS, BucketDeployment, deployed_on

pytestmark = pytest.mark.exhaustive

Spans = dict[str, list[Interval]]


class Scene(NamedTuple):
    """A deployment with everything fetched and loaded."""

    world: World
    deployment: Deployment
    api: Served

    @property
    def store(self) -> FeedStore:
        return self.deployment.store

    def segments(self) -> list[str]:
        """The names of all segments that hold something worth losing, by size, largest first."""
        found = [item for item in self.store.list(PREFIX) if parse_name(item.name)]
        return [item.name for item in sorted(found, key=lambda item: (-item.size, item.name))]

    def put(self, name: str, data: bytes) -> None:
        """Writes an object past our code: whatever was there is gone."""
        self.store.delete(name)
        self.store.create(name, data)


class Target(NamedTuple):
    """An object to damage, another of its kind, and a name under which it may turn up by mistake.

    `lost` are the segments that are lost with it if it is damaged, `lost_too` those that are lost
    with the other one. The wallets in `refetched` may be asked for from the beginning.
    """

    name: str
    other: str
    misplaced: str
    lost: tuple[str, ...] = ()
    lost_too: tuple[str, ...] = ()
    refetched: tuple[str, ...] = ()


def a_segment(scene: Scene) -> Target:
    name, *others = scene.segments()
    wallet = name.split("/")[1]
    other = next(each for each in others if wallet not in each)
    misplaced = name.replace(wallet, other.split("/")[1])
    return Target(name, other, misplaced, (name,), (other,))


def a_middle_segment(scene: Scene) -> Target:
    whale = scene.segments()[0].split("/")[1]
    mine = sorted(name for name in scene.segments() if whale in name)
    name, other = mine[1], mine[2]
    return Target(name, other, f"{name}.bak", (name,), (other,))


def an_empty_segment(scene: Scene) -> Target:
    *_, other, name = scene.segments()
    misplaced = name.replace(name.split("/")[1], other.split("/")[1])
    return Target(name, other, misplaced, (name,), (other,))


def a_marker(scene: Scene) -> Target:
    """Of a full refetch whose note is lost; another wallet has one as well."""
    wallets = sorted({name.split("/")[1] for name in scene.segments()})[:3]
    for wallet in wallets[:2]:
        mine = [name for name in scene.segments() if wallet in name]
        refetch.begin(scene.store, wallet, mine)
    name, other, third = (marker_name(wallet) for wallet in wallets)
    # The other one stays what it is, and that wallet is fetched from the beginning.
    return Target(name, other, third, refetched=(wallets[0], wallets[1]))


def the_identity(_: Scene) -> Target:
    return Target(IDENTITY, marker_name("0x" + "00" * 20), "store-identity.json.bak")


def a_quarantined_object(scene: Scene) -> Target:
    """And the segment that it was is emptied once more: the same name is wanted again."""
    name = scene.segments()[0]
    whole = scene.store.read(name)
    scene.put(name, b"")
    set_aside(scene.store, name)
    kept = next(
        item.name
        for item in scene.store.list(QUARANTINE)
        if item.name.startswith(f"{QUARANTINE}{name}")
    )
    scene.put(name, whole)
    scene.put(name, b"")
    other = f"{QUARANTINE}other"
    scene.put(other, b"other")
    return Target(kept, other, name + ".bak", lost=(name,))


OBJECTS: dict[str, Callable[[Scene], Target]] = {
    "segment": a_segment,
    "middle segment": a_middle_segment,
    "empty segment": an_empty_segment,
    "marker": a_marker,
    "identity": the_identity,
    "quarantined": a_quarantined_object,
}


def damage(scene: Scene, target: Target) -> tuple[str, ...]:
    data = bytearray(scene.store.read(target.name) or b"x")
    data[len(data) // 2] ^= 0xFF
    scene.put(target.name, bytes(data))
    return target.lost


def swap(scene: Scene, target: Target) -> tuple[str, ...]:
    if target.name == IDENTITY:
        scene.put(target.name, b"[]")  # another id is another store: see test_identity
        return ()
    one, other = scene.store.read(target.name), scene.store.read(target.other)
    scene.put(target.name, other)
    scene.put(target.other, one)
    return (*target.lost, *target.lost_too)


def rename(scene: Scene, target: Target) -> tuple[str, ...]:
    double(scene, target)
    scene.store.delete(target.name)
    return target.lost


def empty(scene: Scene, target: Target) -> tuple[str, ...]:
    scene.put(target.name, b"")
    return target.lost


def double(scene: Scene, target: Target) -> tuple[str, ...]:
    if parse_name(target.misplaced) is None or not any(
        item.name == target.misplaced for item in scene.store.list(PREFIX)
    ):
        scene.put(target.misplaced, scene.store.read(target.name))
    return target.lost if target.name.startswith(QUARANTINE) else ()


def lose(scene: Scene, target: Target) -> tuple[str, ...]:
    scene.store.delete(target.name)
    return target.lost


DAMAGES = {each.__name__: each for each in (damage, swap, rename, empty, double, lose)}


@contextmanager
def filled(kind: str, root: Path) -> Iterator[Scene]:
    world = generate(111, 6, whales=1, whale_trades=1_200, most_trades=12)
    with (
        sample_api(world) as api,
        deployed_on(kind, root, api.url, POLYCOPY_SEGMENT_BYTES="5000") as deployment,
    ):
        deployment.want(world.wallets())
        deployment.backfill()
        yield Scene(world, deployment, api)


def outside(scene: Scene) -> dict[str, bytes]:
    """Everything that lies beside the store, by name."""
    deployment = scene.deployment
    if isinstance(deployment, BucketDeployment):
        blobs = deployment.gcs.client().list_blobs(deployment.name)
        return {b.name: b.download_as_bytes() for b in blobs if not b.name.startswith("pre/")}
    beside = deployment.root / "beside"
    return {str(path): path.read_bytes() for path in beside.rglob("*") if path.is_file()}


def put_beside(scene: Scene) -> dict[str, bytes]:
    """Others' files, named like ours."""
    deployment, name = scene.deployment, scene.segments()[0]
    if isinstance(deployment, BucketDeployment):
        bucket = deployment.gcs.client().bucket(deployment.name)
        for each in (name, f"pre-2/{name}", f"other/{name}"):
            bucket.blob(each).upload_from_string(b"of others")
    else:
        path = deployment.root / "beside" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"of others")
    return outside(scene)


def durable(scene: Scene) -> Spans:
    """The intervals that are stored, by wallet."""
    spans: Spans = {}
    for name in scene.segments():
        named = parse_name(name)
        assert named
        spans.setdefault(named[0], []).append(named[1])
    return spans


def spared(there: Spans, target: Target, lost: tuple[str, ...]) -> Spans:
    """What of `there` the damage has left, so that nobody may ask for it."""
    gone = [named for name in lost if (named := parse_name(name))]
    return {
        wallet: [span for span in spans if (wallet, span) not in gone]
        for wallet, spans in there.items()
        if wallet not in target.refetched
    }


def settle(scene: Scene, before: Spans) -> None:
    """Reconciled and backfilled, everything agrees, and nothing was asked for that was there."""
    scene.api.state.counts.reset()
    told = scene.deployment.reconcile("--apply", "--verify")
    assert set(told["left"]) == {"consistent"}
    assert scene.deployment.here("backfill")[0] == 0
    assert asked_again(scene.api.state.counts.log, before) == []
    assert scene.deployment.table() == truth(scene.world)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", OBJECTS)
def test_whatever_happens_to_an_object_only_what_is_lost_is_fetched(
    tmp_path: Path, kind: str, what: str
):
    with filled(kind, tmp_path) as scene:
        others = put_beside(scene)
        for name, happens in DAMAGES.items():
            there = durable(scene)
            target = OBJECTS[what](scene)
            print(what, name, target)
            lost = happens(scene, target)
            settle(scene, spared(there, target, lost))
            assert outside(scene) == others
        assert scene.deployment.here("backfill", "--refresh")[0] == 0
        assert scene.deployment.table() == truth(scene.world)
        assert set(scene.deployment.reconcile()["counts"]) == {"consistent"}


# How a store refuses is made up here, so one case on Cloud Storage is enough.
@pytest.mark.parametrize(
    ("kind", "what"), [*(("local", what) for what in OBJECTS), ("gcs", "segment")]
)
def test_what_cannot_be_deleted_is_named_and_settled_once_it_can_be(
    tmp_path: Path, kind: str, what: str, monkeypatch: pytest.MonkeyPatch
):
    with filled(kind, tmp_path) as scene:
        others = put_beside(scene)
        there = durable(scene)
        target = OBJECTS[what](scene)
        lost = empty(scene, target)
        for store in (LocalStore, GCSStore):
            refuse(monkeypatch, store, target.name)
        assert scene.deployment.here("reconcile", "--apply")[0] in {0, 1, 2}
        assert scene.store.read(target.name) is not None
        assert scene.deployment.table() == truth(scene.world), "nobody has lost a row meanwhile"
        monkeypatch.undo()
        settle(scene, spared(there, target, lost))
        assert outside(scene) == others


def refuse(monkeypatch: pytest.MonkeyPatch, store: type, kept: str) -> None:
    """Deleting the object `kept` is refused, as under a retention policy."""
    real = store.delete

    def delete(self: Store, name: str) -> None:
        if name == kept:
            raise StoreError(f"cannot delete {self.uri(name)}: 403 it is under retention")
        real(self, name)

    monkeypatch.setattr(store, "delete", delete)
