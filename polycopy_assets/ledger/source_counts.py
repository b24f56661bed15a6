"""The witness: the source's own count of a wallet's trades, compared with ours. Pure.

Both count whole UTC days, up to the last one inside the wallet's coverage. A difference is a hint,
not proof: see `docs/reconciliation.md`.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from polycopy_assets.ledger.facts import Facts, Tally
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.ledger.findings import table_differs

DAY = 86_400

RECENT = 20 * 3_600
"""Seconds for which a count is valid while the wallet's data is the same. Less than a day, so that
a comparison at the same hour every day requests every wallet."""

REFETCH_AGAIN_AFTER = 30 * DAY
"""Seconds to wait after a full refetch that did not help, before the next one."""

_VERSION = re.compile(
    r"count\.([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)\.(-?[0-9]+)\.([^.]+)"
)


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """A complete wallet by its record: data version, rows, and until when it is covered."""

    wallet: str
    version: str
    rows: int
    covered_until: int

    @property
    def until(self) -> int:
        """The end of the last whole UTC day in its coverage, epoch seconds."""
        return whole_days(self.covered_until)


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """The table's `rows` of a wallet older than `until`, and the data version they come from."""

    wallet: str
    version: str
    until: int
    rows: int


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many trades of `wallet` there are before `until`, the end of a UTC day.

    `source` is the source's count, requested at `asked`; `ours` the table's, loaded from data
    version `version`. `refetched` is when the wallet was fetched again because of a difference, and
    `left` the difference that remained (source minus ours); 0 if that never happened. Times are
    epoch seconds.
    """

    wallet: str
    source: int
    ours: int
    until: int
    asked: int
    version: str
    refetched: int = 0
    left: int = 0

    @property
    def difference(self) -> int:
        """How many more the source counts; negative if it counts less."""
        return self.source - self.ours

    @property
    def agrees(self) -> bool:
        """Whether both count the same."""
        return not self.difference

    def holds(self, version: str | None, now: int) -> bool:
        """Whether the count is still valid: it is recent, and the data has not changed."""
        return self.version == version and now - self.asked < RECENT

    def to_refetch(self, now: int) -> bool:
        """Whether a full refetch may help: not if one left the same difference, or was recent."""
        if self.agrees:
            return False
        tried_lately = now - self.refetched < REFETCH_AGAIN_AFTER
        return not self.refetched or (self.difference != self.left and not tried_lately)

    def after(self, before: "Count | None", *, refetched: bool) -> "Count":
        """The same count with the latest refetch: one just made, or the one that `before` has."""
        if refetched:
            return msgspec.structs.replace(self, refetched=self.asked, left=self.difference)
        if before is None:
            return self
        return msgspec.structs.replace(self, refetched=before.refetched, left=before.left)


class Witnessed(msgspec.Struct, frozen=True, kw_only=True):
    """The result of comparing with the source, for the wallets whose ledgers agree.

    `failed` are the wallets that could not be counted or fetched again; `not_asked` counts those
    that were skipped because the source was down; `not_compared` the wallets that are not complete,
    or whose ledgers do not agree yet. `refetched` were fetched again because their counts differed.
    """

    agree: int
    disagree: tuple[Count, ...]
    failed: tuple[Failure, ...]
    not_asked: int
    not_compared: int
    refetched: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether every wallet that can be compared was compared. A difference is a result, too."""
        return not self.failed and not self.not_asked


def whole_days(covered_until: int) -> int:
    """The end of the last whole UTC day before `covered_until`; both epoch seconds."""
    return covered_until // DAY * DAY


def ours(complete: Complete, whole: Tally, days: Tally) -> Ours | str:
    """What the table says of a complete wallet, or why that cannot be compared.

    `whole` counts its rows in the table until its coverage ends, `days` those until the end of
    the last whole day in it.
    """
    if complete.until <= 0:
        return "its coverage holds no whole day"
    if differs := table_differs(Facts(wallet=complete.wallet, tally=whole), complete.rows):
        return f"{differs}: load first"
    return Ours(
        wallet=complete.wallet, version=complete.version, until=complete.until, rows=days.ours
    )


def summed_up(
    settled: Mapping[str, str],
    counts: Mapping[str, Count],
    failures: Mapping[str, str],
    *,
    wallets: int,
    now: int,
    refetched: Iterable[str] = (),
    not_refetched: Iterable[Failure] = (),
) -> Witnessed:
    """Sums up the latest `counts` and `failures` of the wallets whose ledgers agree.

    `settled` maps these to their data versions, out of `wallets` in all; `failures` maps the
    wallets whose latest request failed to the reason. `not_refetched` are those whose full refetch
    failed.
    """
    found = {
        wallet: count
        for wallet, version in settled.items()
        if wallet not in failures and (count := counts.get(wallet)) and count.holds(version, now)
    }
    failed = [Failure(wallet, failures[wallet]) for wallet in settled if wallet in failures]
    return Witnessed(
        agree=sum(count.agrees for count in found.values()),
        disagree=tuple(count for count in found.values() if not count.agrees),
        failed=(*failed, *not_refetched),
        not_asked=len(settled) - len(found) - len(failed),
        not_compared=wallets - len(settled),
        refetched=tuple(refetched),
    )


def count_version(count: Count) -> str:
    """The count as a data version, so that one query reads the counts of all wallets."""
    return (
        f"count.{count.source}.{count.ours}.{count.until}.{count.asked}"
        f".{count.refetched}.{count.left}.{count.version}"
    )


def read_version(wallet: str, version: str) -> Count | None:
    """The count that a data version holds; None if it is not one of ours."""
    found = _VERSION.fullmatch(version)
    if not found:
        return None
    source, ours, until, asked, refetched, left = (int(text) for text in found.groups()[:6])
    return Count(
        wallet=wallet,
        source=source,
        ours=ours,
        until=until,
        asked=asked,
        refetched=refetched,
        left=left,
        version=found[7],
    )
