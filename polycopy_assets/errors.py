"""The exceptions of the package.

PolycopyError
├── Unexpected                an exception that nobody foresaw, while one wallet was worked on
├── ConfigurationError        a setting is wrong; says which, its value and what is accepted
│   ├── WrongStore            the store that is set is not the one this Dagster instance works with
│   └── WrongTable            the table that is set holds the batches of another store
├── InvalidWallet             not `0x` and 40 hexadecimal digits
├── DatabaseBusy              another process kept Dagster's database locked longer than we wait
├── SourceError               the trades API did not give what was asked
│   ├── PermanentError        it refused, and will refuse again (400, 401, 404, …)
│   ├── TransientError        it failed, and went on failing until the retries ran out
│   │   └── Unreachable       no connection to it: name resolution, TLS, refused, proxy
│   └── ContractBroken        it answered, but not what its contract promises
├── StoreError                the store could not be read or written
│   ├── ObjectExists          the name is taken by other bytes
│   ├── ObjectLost            a recorded object is gone or differs from its record
│   ├── ObjectUnreadable      a recorded object is there, and the store does not give it out
│   ├── ObjectDamaged         a name holds what cannot be the object that belongs there
│   └── ObjectKept            an object may not be deleted: the right, or a hold, is against it
└── WarehouseError            the table could not be read or written
    ├── WarehouseBusy         another process kept the DuckDB file longer than we wait
    ├── BatchBroken           the files of a batch are not what its manifest says
    └── QuotaExceeded         one of BigQuery's quotas is used up; says which, and until when
"""

import traceback
from pathlib import Path

from polycopy_assets.text import MESSAGE, one_line, said_by


class PolycopyError(Exception):
    """Base of all errors that this package raises on purpose.

    Its message is one line without control characters, whatever was put into it. `kind` is the word
    by which failures of wallets are told apart.
    """

    kind = "internal"

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message, MESSAGE))


class Unexpected(PolycopyError):
    """An exception that nobody foresaw: a defect, or a value that nobody thought of.

    The message names its type and where it was raised, `traceback` is the whole of it. It is the
    failure of the wallet that was being worked on, and of no other.
    """

    def __init__(self, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        super().__init__(f"{type(error).__name__}{place}: {said_by(error)}".removesuffix(": "))
        self.traceback = "".join(traceback.format_exception(error))


class ConfigurationError(PolycopyError):
    """A setting is wrong. The message names the variable, the value and what is accepted."""


class WrongStore(ConfigurationError):
    """The store that is set is not the one whose id the Dagster instance keeps."""


class WrongTable(ConfigurationError):
    """The table that is set holds the batches of another store.

    `found` is that store's id, None if the table does not tell; `expected` the id of ours, if any.
    """

    def __init__(self, uri: str, found: str | None, expected: str | None) -> None:
        super().__init__(
            f"POLYCOPY_WAREHOUSE: the table trades in {uri} is not the table of this store: it"
            f" holds batches of another one (id {found or 'unknown'}), and the id of this store is"
            f" {expected or 'none yet'}. Nothing was changed. Is POLYCOPY_WAREHOUSE right? If it"
            " is: `polycopy init --accept-table`, and the next backfill loads everything into it"
        )


class InvalidWallet(PolycopyError, ValueError):
    """A text that should be a wallet address and is not."""


class DatabaseBusy(PolycopyError):
    """One of Dagster's databases was locked for longer than the bounded wait. Names the file."""


class SourceError(PolycopyError):
    """The trades API did not give what was asked for one wallet."""

    kind = "source"


class PermanentError(SourceError):
    """Refused by the source in a way that repeating will not change."""

    kind = "permanent"


class TransientError(SourceError):
    """Failed by outage, overload or a broken transfer, on every bounded attempt."""

    kind = "transient"


class Unreachable(TransientError):
    """No connection to the source. The message holds for every wallet, and names none."""


class ContractBroken(SourceError):
    """Answered in a way that the source's documented contract rules out."""

    kind = "contract"


class StoreError(PolycopyError):
    """The store of segments and combined files could not be read or written."""

    kind = "store"


class ObjectExists(StoreError):
    """An object of that name exists already, and objects are never rewritten."""


class ObjectLost(StoreError):
    """An object that a record names is gone, or is not what the record says."""


class ObjectUnreadable(StoreError):
    """An object that a record names is there and cannot be read: its mode, its disk, its key."""


class ObjectDamaged(StoreError):
    """A name holds what cannot be the object that belongs there: odd bytes, a link, a FIFO."""


class ObjectKept(StoreError):
    """An object may not be deleted: there is no right to, or it is held. Others may be."""


class WarehouseError(PolycopyError):
    """The table could not be read or written."""


class WarehouseBusy(WarehouseError):
    """Another process held the DuckDB file for longer than the bounded wait."""


class QuotaExceeded(WarehouseError):
    """One of BigQuery's quotas is used up. The message names it and says when to come back."""


class BatchBroken(WarehouseError):
    """The files of a batch are not what its manifest says; nothing of it is in the table.

    `batch` is its number. What it held has to be combined again.
    """

    def __init__(self, batch: int, why: str) -> None:
        super().__init__(f"batch {batch} is not what its manifest says: {why}; nothing was loaded")
        self.batch = batch
        self.why = why
