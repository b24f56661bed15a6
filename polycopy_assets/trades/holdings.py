"""What the batches hold of every wallet, folded from their manifests one after the other.

Of each wallet a few tiles are kept, however many batches name it, packed into bytes: 100,000
wallets fit into memory.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from struct import Struct as Packing
from typing import Self

import msgspec

from polycopy_assets.trades.batch import Claim, Manifest
from polycopy_assets.trades.digest import total
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import rows_in_version, version_of
from polycopy_assets.trades.tiles import Tile, digest_of, joined, placed

MOST_TILES = 16
"""Tiles of a wallet. When there are more, they are joined to half as many."""

_TILE = Packing("<QQQQI?")
_LAST = _TILE.size


class Held(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the batches hold of a wallet.

    `version` is the data version that was combined last (empty if more of that record follows in
    the next batch), `batch` the last batch that names the wallet. `rows` are the trades that the
    batches hold for certain, `digest` is that of all of them; None if some are uncertain.
    """

    version: str
    batch: int
    rows: int
    digest: int | None
    packed: bytes

    @classmethod
    def of(cls, version: str, batch: int, tiles: Sequence[Tile]) -> Self:
        """A wallet whose tiles are `tiles`."""
        return cls(
            version=version,
            batch=batch,
            rows=sum(tile.rows for tile in tiles),
            digest=digest_of(tiles),
            packed=b"".join(_pack(tile) for tile in tiles),
        )

    @property
    def tiles(self) -> list[Tile]:
        """The tiles, oldest first."""
        return [
            Tile(start, until, rows, digest if certain else None, batch)
            for start, until, rows, digest, batch, certain in _TILE.iter_unpack(self.packed)
        ]

    def holds(self, version: str) -> bool:
        """Whether the batches hold all trades of the record with that data version.

        Either it is the version that was combined last, and no batch was lost since, or the trades
        add up to it. A record of an older version has the former only.
        """
        rows = rows_in_version(version)
        if version and version == self.version and self.rows >= (rows or 0):
            return True
        if rows == 0:
            return not self.packed
        return self.digest is not None and version_of(self.rows, self.digest) == version

    def rows_before(self, moment: int) -> int:
        """How many trades the batches hold for certain before a moment (epoch seconds)."""
        return sum(tile.rows for tile in self.tiles if tile.until <= moment)

    def claimed(self, items: Sequence[Claim], batch: int) -> Self:
        """The same after `items`, the claims of batch `batch` on the wallet, oldest first.

        Tiles are joined after the last of them. What was joined before would be uncertain if a
        later one replaces only a part of it, though the batch and those before it hold it.
        """
        if len(items) == 1 and (more := self._with_later(items[0], batch)) is not None:
            return more
        tiles = self.tiles
        for item in items:
            tile = _tile(item, batch)
            if tiles and tiles[-1].until > item.start:
                tiles = placed(tiles, Interval(item.start, item.until), tile)
            elif tile is not None:
                tiles.append(tile)
        tiles = joined(tiles, MOST_TILES // 2) if len(tiles) > MOST_TILES else tiles
        return type(self).of(items[-1].version, batch, tiles)

    def _with_later(self, item: Claim, batch: int) -> Self | None:
        """The same after one claim that is later than everything else, as almost always.

        None if it is not, or if there would be too many tiles.
        """
        end = _TILE.unpack_from(self.packed, len(self.packed) - _LAST)[1] if self.packed else 0
        if end > item.start or len(self.packed) >= MOST_TILES * _LAST:
            return None
        tile = _tile(item, batch)
        if tile is None:
            return msgspec.structs.replace(self, version=item.version, batch=batch)
        return type(self)(
            version=item.version,
            batch=batch,
            rows=self.rows + tile.rows,
            digest=None if self.digest is None else total((self.digest, tile.digest or 0)),
            packed=self.packed + _pack(tile),
        )


_NOTHING = Held(version="", batch=0, rows=0, digest=0, packed=b"")


class Holdings:
    """What the batches of a feed hold of each wallet.

    `schema` is the version of the feed's columns. `others` are the wallets that only batches with
    older columns name: nothing is held of them.
    """

    def __init__(
        self,
        schema: int,
        held: Mapping[str, Held] | None = None,
        others: Collection[str] = (),
    ) -> None:
        self._schema = schema
        self._held = dict(held or {})
        self._others = set(others)

    @classmethod
    def of(cls, manifests: Iterable[Manifest], schema: int) -> "Holdings":
        """What `manifests`, in their order, hold together."""
        found = cls(schema)
        for manifest in manifests:
            found.add(manifest)
        return found

    def add(self, manifest: Manifest) -> None:
        """Adds a batch, the latest so far."""
        if manifest.schema != self._schema:
            self._others |= {item.wallet for item in manifest.claims}
            return
        for wallet, claims in groupby(manifest.claims, key=attrgetter("wallet")):
            held = self._held.get(wallet, _NOTHING)
            self._held[wallet] = held.claimed(list(claims), manifest.batch)

    def copy(self) -> "Holdings":
        """The same; batches that are added to one are not added to the other."""
        return Holdings(self._schema, self._held, self._others)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[tuple[str, Held]]:
        """Every wallet with what is held of it, in no order."""
        return iter(self._held.items())

    @property
    def others(self) -> frozenset[str]:
        """The wallets that only batches with older columns name."""
        return frozenset(self._others - self._held.keys())

    def names(self, wallet: str) -> bool:
        """Whether any batch, of whatever columns, names the wallet."""
        return wallet in self._held or wallet in self._others

    def get(self, wallet: str) -> Held:
        """What is held of a wallet; nothing if no batch names it."""
        return self._held.get(wallet, _NOTHING)

    def version(self, wallet: str) -> str | None:
        """The data version that was combined last; None if no batch names the wallet."""
        held = self._held.get(wallet)
        return None if held is None else held.version

    def rows(self, wallets: Container[str]) -> int:
        """How many rows of `wallets` a table that holds these batches has at least."""
        return sum(
            min(held.rows, rows_in_version(held.version) or 0)
            for wallet, held in self._held.items()
            if wallet in wallets
        )


def _tile(item: Claim, batch: int) -> Tile | None:
    """The tile of a claim's rows, from the oldest to the newest where that is known."""
    if not item.rows:
        return None
    start, until, first, last = item.start, item.until, item.first, item.last
    if first is not None and last is not None and start <= first <= last < until:
        start, until = first, last + 1
    return Tile(start, until, item.rows, item.share, batch)


def _pack(tile: Tile) -> bytes:
    certain = tile.digest is not None
    return _TILE.pack(tile.start, tile.until, tile.rows, tile.digest or 0, tile.batch, certain)
