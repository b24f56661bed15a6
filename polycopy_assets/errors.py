"""The exceptions of the package.

PolycopyError
├── Unexpected                an unexpected exception during the work on one wallet
├── ConfigurationError        a setting is wrong; names it, its value and what is accepted
│   ├── WrongStore            the configured store is not the one this Dagster instance uses
│   ├── WrongTable            the configured table holds the batches of another store
│   └── QueryRefused          the query is not one statement that only reads
├── InvalidWallet             not `0x` and 40 hexadecimal digits
├── Stopped                   all work must stop
│   ├── LockLost              a lock is no longer held
│   └── RunEnded              the run was ended or deleted from outside, or has stalled
├── DatabaseBusy              another process kept Dagster's database locked longer than we wait
├── SourceError               the trades API did not deliver what was requested
│   ├── PermanentError        it refused, and will refuse again (400, 401, 404, …)
│   ├── TransientError        it failed, and kept failing until the retries ran out
│   │   └── Unreachable       no connection to it: name resolution, TLS, refused, proxy
│   ├── OutOfTime             the time is up, and nothing has failed
│   └── ContractBroken        it answered, but not what its contract promises
├── StoreError                the store could not be read or written
│   ├── ObjectError           something is wrong with one object; says which, and what
│   │   ├── ObjectExists      the name is taken by other bytes
│   │   ├── ObjectLost        a recorded object is gone or differs from its record
│   │   ├── ObjectUnreadable  a recorded object is there, but cannot be read
│   │   └── ObjectDamaged     a name holds what cannot be the object that belongs there
│   └── ObjectKept            an object cannot be deleted: no permission, or a hold
└── WarehouseError            the table could not be read or written
    ├── Unsuitable            a table or dataset is there, and cannot hold or show our rows
    ├── WarehouseBusy         another process kept the DuckDB file longer than we wait
    ├── WarehouseFull         DuckDB needed more memory than it may use
    ├── BatchBroken           the files of a batch are not what its manifest says
    └── QuotaExceeded         one of BigQuery's quotas is used up; says which, and until when
"""

import traceback
from enum import StrEnum
from pathlib import Path

from polycopy_assets.text import MESSAGE, one_line, said_by


class Kind(StrEnum):
    """The kind of a wallet's failure; the word appears in reasons and records."""

    INTERNAL = "internal"
    SOURCE = "source"
    PERMANENT = "permanent"
    TRANSIENT = "transient"
    CONTRACT = "contract"
    STORE = "store"
    NOT_COMPARED = "not_compared"

    @classmethod
    def of(cls, word: str) -> "Kind":
        """The kind that a record names; SOURCE for a word that this version does not know."""
        return cls(word) if word in set(cls) else cls.SOURCE


class PolycopyError(Exception):
    """Base of all errors that this package raises on purpose.

    Its message is one line without control characters, whatever was put into it. `kind` is the kind
    of a wallet's failure.
    """

    kind: Kind = Kind.INTERNAL

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message, MESSAGE))


def with_notes(error: BaseException) -> str:
    """The message of an error of ours, and what was noted on it while it was raised."""
    notes: list[str] = getattr(error, "__notes__", [])
    return "; ".join([str(error), *(said_by(note) for note in notes)])


class Unexpected(PolycopyError):
    """An unexpected exception: a defect, or a value that the code does not handle.

    The message names its type and where it was raised; `traceback` is the full traceback. Only the
    wallet that was being worked on fails.
    """

    def __init__(self, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        super().__init__(f"{type(error).__name__}{place}: {said_by(error)}".removesuffix(": "))
        self.traceback = "".join(traceback.format_exception(error))


class ConfigurationError(PolycopyError):
    """A setting is wrong. The message names the variable, the value and what is accepted."""


class WrongStore(ConfigurationError):
    """The configured store is not the one whose id the Dagster instance keeps."""


class WrongTable(ConfigurationError):
    """The configured table holds the batches of another store.

    `table` in `uri` holds them. `found` is that store's id, None if unknown; `expected` is the id
    of this store, if it has one.
    """

    def __init__(self, table: str, uri: str, found: str | None, expected: str | None) -> None:
        super().__init__(
            f"POLYCOPY_WAREHOUSE: the table {table} in {uri} is not the table of this store: it"
            f" holds batches of another one (id {found or 'unknown'}), and the id of this store is"
            f" {expected or 'none yet'}. Nothing was changed. Is POLYCOPY_WAREHOUSE right? If it"
            " is: `polycopy init --accept-table`, and the next backfill loads everything into it"
        )


class QueryRefused(ConfigurationError):
    """A person's query is not one statement that only reads. Nothing was run."""


class InvalidWallet(PolycopyError, ValueError):
    """A text that should be a wallet address and is not."""


class Stopped(PolycopyError):
    """All work must stop, for this wallet and for every other."""


class LockLost(Stopped):
    """A lock is no longer held: work that needs it stops before its next step."""


class RunEnded(Stopped):
    """The run of this process must not continue: it was ended or deleted, or has stalled."""


class DatabaseBusy(PolycopyError):
    """One of Dagster's databases was locked for longer than the bounded wait. Names the file."""


class SourceError(PolycopyError):
    """The trades API did not deliver what was requested for one wallet."""

    kind = Kind.SOURCE


class PermanentError(SourceError):
    """Refused by the source in a way that repeating will not change."""

    kind = Kind.PERMANENT


class TransientError(SourceError):
    """Failed on every bounded attempt: outage, overload or a broken transfer."""

    kind = Kind.TRANSIENT


class Unreachable(TransientError):
    """No connection to the source. The message applies to every wallet, and names none."""


class OutOfTime(SourceError):
    """The time is up: no more requests are sent, no other run is waited for. Nothing has failed."""

    kind = Kind.TRANSIENT


class ContractBroken(SourceError):
    """Answered in a way that the source's documented contract rules out."""

    kind = Kind.CONTRACT


class StoreError(PolycopyError):
    """The store of segments and combined files could not be read or written."""

    kind = Kind.STORE


def no_number_left(folder: str) -> StoreError:
    """The error if the numbers of a folder's objects are used up: we never get that far."""
    return StoreError(
        f"{folder} has no number left: polycopy did not write the object with the last one, so move"
        " it elsewhere"
    )


class ObjectError(StoreError):
    """Something is wrong with one object, which says nothing about others.

    The message is `name`, which is the object's name or address, and then `why`.
    """

    def __init__(self, name: object, why: str) -> None:
        super().__init__(f"{name} {why}")
        self.name = str(name)
        self.why = one_line(why, MESSAGE)


class ObjectExists(ObjectError):
    """An object of that name exists already, and objects are never rewritten."""


class ObjectLost(ObjectError):
    """An object that a record names is gone, or is not what the record says."""


class ObjectUnreadable(ObjectError):
    """An object that a record names is there and cannot be read: its mode, its disk, its key."""


class ObjectDamaged(ObjectError):
    """Something else has the object's name: damaged bytes, a link, a FIFO."""


class ObjectKept(StoreError):
    """An object cannot be deleted: no permission, or a hold. Other objects may be deletable."""


class WarehouseError(PolycopyError):
    """The table could not be read or written."""


class Unsuitable(WarehouseError):
    """A table or dataset is there, and cannot hold or show our rows; only people can change that.

    The message names what is wrong with it.
    """


class WarehouseBusy(WarehouseError):
    """Another process held the DuckDB file for longer than the bounded wait."""


class WarehouseFull(WarehouseError):
    """DuckDB needed more memory than it may use."""


class QuotaExceeded(WarehouseError):
    """One of BigQuery's quotas is used up. The message names it and says when to try again."""


class BatchBroken(WarehouseError):
    """The files of a batch are not what its manifest says; nothing of it is in the table.

    `batch` is its number. Its segments have to be combined again.
    """

    def __init__(self, batch: int, why: str) -> None:
        super().__init__(f"batch {batch} is not what its manifest says: {why}; nothing was loaded")
        self.batch = batch
        self.why = why
