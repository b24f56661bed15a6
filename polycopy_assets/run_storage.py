"""The storages of runs and schedules under the names that existing homes use."""

from polycopy_assets.record.private.run_storage import (
    PatientSqliteRunStorage,
    PatientSqliteScheduleStorage,
)

__all__ = ["PatientSqliteRunStorage", "PatientSqliteScheduleStorage"]
