"""What the double holds and does: tables, jobs, and the errors that jobs end in."""

import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Name = tuple[str, str, str]
LABEL = re.compile(r"[a-z0-9_-]{0,63}")
"""What a label's name or value may be."""


class JobError(Exception):
    """What a job ends in: BigQuery's reason and message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass
class Table:
    """A table's metadata; `version` changes with every change of metadata or rows."""

    name: Name
    schema: list[dict[str, Any]]
    location: str
    partition: str | None = None
    unit: str = "MONTH"
    """How long a partition is."""
    partitions_last: timedelta | None = None
    """The age at which a partition vanishes."""
    filtered: bool = False
    """Whether every query must have bounds on `partition`."""
    streamed: datetime | None = None
    """Until then, its rows cannot be changed."""
    shown: str | None = None
    """The rows that row access policies let the caller see, as a condition; all, if None."""
    lagging: int | None = None
    """The rows that its metadata says it has, as long as that lags: nothing promises otherwise."""
    updates: list[float] = field(default_factory=list)
    """When its metadata was changed."""
    clustering: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    expires: datetime | None = None
    key: str | None = None
    """The key of Cloud KMS that it is encrypted with; Google's own, if None."""
    kind: str = "TABLE"
    description: str = ""
    view: str = ""
    """The query of a view."""
    version: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def physical(self) -> str:
        """Its name in DuckDB, quoted."""
        return '"' + ".".join(self.name) + '"'

    def touch(self) -> None:
        """Notes a change."""
        self.version = uuid.uuid4().hex


@dataclass
class Job:
    """A job that ran, runs or waits."""

    id: str
    kind: str
    project: str
    location: str
    configuration: dict[str, Any]
    state: str = "PENDING"
    error: JobError | None = None
    bytes_processed: int = 0
    bytes_billed: int = 0
    cache_hit: bool = False
    inserted: int = 0
    deleted: int = 0
    dml: bool = False
    statement_type: str = ""
    children: list["Job"] = field(default_factory=list)
    output_rows: int = 0
    schema: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    created: float = field(default_factory=time.time)
    span: tuple[float, float] = (0.0, 0.0)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.configuration.get("labels", {})

    @property
    def sql(self) -> str:
        """The statement of a query job."""
        return self.configuration.get("query", {}).get("query", "")

    @property
    def maximum_bytes_billed(self) -> int | None:
        """The cap of a query job."""
        cap = self.configuration.get("query", {}).get("maximumBytesBilled")
        return int(cap) if cap is not None else None


def mode(column: Mapping[str, Any]) -> str:
    """A column's mode."""
    return str(column.get("mode", "NULLABLE")).upper()


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
