"""Loading by BigQuery Data Transfer Service, for organisations that allow nothing else.

A transfer config that belongs to polycopy is pointed at one batch, started as a manual run, and
awaited however long that takes. Success is never assumed: the run must report success with the
parameters of this batch, and the warehouse then counts the rows itself.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from google.api_core import exceptions
from google.api_core.retry import Retry, if_transient_error
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery_datatransfer_v1 import (
    DataTransferServiceClient,
    ListTransferRunsRequest,
    StartManualTransferRunsRequest,
    TransferConfig,
    TransferRun,
    TransferState,
)
from google.protobuf.field_mask_pb2 import FieldMask

from polycopy_assets.errors import QuotaExceeded, WarehouseError
from polycopy_assets.system.google_quota import explain
from polycopy_assets.text import MESSAGE, counted, said_by
from polycopy_assets.warehouse.bigquery.table import key_of

ATTEMPTS = 3
POLL_SECONDS = 15.0
PATIENCE_SECONDS = 1800.0
_TIMEOUT = 60.0
_BEFORE = timedelta(minutes=1)
"""A run time has to lie in the past, by Google's clock; ours may be ahead of it."""
_UNFINISHED = (TransferState.PENDING, TransferState.RUNNING)


class Transfer:
    """Fills staging tables by manual runs of one transfer config.

    `config` is its resource name, `projects/P/locations/L/transferConfigs/ID`. If the service
    cannot be reached for `patience` seconds, raises an error.
    """

    def __init__(
        self,
        client: DataTransferServiceClient,
        config: str,
        *,
        patience: float = PATIENCE_SECONDS,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._client = client
        self._config = config
        self._poll = poll
        self._retry = Retry(predicate=if_transient_error, timeout=patience)

    def fill(self, table: bigquery.Table, folder: str, uris: Sequence[str]) -> None:
        """Makes `table` hold the Parquet files of `folder`, which are exactly `uris`.

        Raises WarehouseError if the run failed or was cancelled, or contact with it was lost.
        """
        wanted = {
            "data_path_template": f"{folder}/*.parquet",
            "destination_table_name_template": table.table_id,
            "file_format": "PARQUET",
            "write_disposition": "MIRROR",
        }
        if not all(uri.startswith(f"{folder}/") and uri.endswith(".parquet") for uri in uris):
            raise WarehouseError(f"the files of a transfer are not all {folder}/*.parquet")
        for _ in range(ATTEMPTS):
            for run in self._under_way():
                # Left by a killed run of ours, or started by another process.
                if self._ended_well(self._wait(run), wanted):
                    return
            self._point(table, wanted)
            run = self._wait(self._start())
            if _parameters(run) != wanted:
                continue  # another process pointed the config elsewhere meanwhile
            if self._ended_well(run, wanted):
                return
            raise self._failure(run)
        raise WarehouseError(
            f"transfer config {self._config} is changed by something else again and again:"
            " only one deployment may use it"
        )

    def _under_way(self) -> list[TransferRun]:
        request = ListTransferRunsRequest(parent=self._config, states=list(_UNFINISHED))
        with self._failing("cannot list the runs of"):
            return list(
                self._client.list_transfer_runs(request, retry=self._retry, timeout=_TIMEOUT)
            )

    def _point(self, table: bigquery.Table, wanted: dict[str, str]) -> None:
        """Sets the config's parameters; refuses a config that does not fit `table`.

        Its schedule must be off, and its destination and its key must be those of the table.
        """
        dataset, key = table.dataset_id, key_of(table.encryption_configuration)
        with self._failing("cannot read"):
            config = self._client.get_transfer_config(
                name=self._config, retry=self._retry, timeout=_TIMEOUT
            )
        if config.data_source_id != "google_cloud_storage":
            raise WarehouseError(
                f"transfer config {self._config} is for {config.data_source_id!r},"
                " and should be for 'google_cloud_storage'"
            )
        if config.destination_dataset_id != dataset:
            raise WarehouseError(
                f"transfer config {self._config} goes to dataset"
                f" {config.destination_dataset_id!r}, and should go to {dataset!r}"
            )
        has = str(config.encryption_configuration.kms_key_name or "") or None
        if key is not None and has != key:
            raise WarehouseError(
                f"transfer config {self._config} encrypts with {has or 'a key of Google'}, and"
                f" should with {key}, the key of the dataset"
            )
        if not config.schedule_options.disable_auto_scheduling:
            raise WarehouseError(
                f"transfer config {self._config} runs on a schedule of its own: switch that off"
            )
        with self._failing("cannot set the parameters of"):
            self._client.update_transfer_config(
                transfer_config=TransferConfig(
                    name=self._config, params={**dict(config.params), **wanted}
                ),
                update_mask=FieldMask(paths=["params"]),
                retry=self._retry,
                timeout=_TIMEOUT,
            )

    def _start(self) -> TransferRun:
        # Not retried: a request whose answer is lost may have started a run. The next attempt then
        # finds that run.
        with self._failing("cannot start a run of"):
            answer = self._client.start_manual_transfer_runs(
                StartManualTransferRunsRequest(
                    parent=self._config, requested_run_time=datetime.now(UTC) - _BEFORE
                ),
                retry=None,
                timeout=_TIMEOUT,
            )
        if len(answer.runs) != 1:
            raise WarehouseError(
                f"{counted(len(answer.runs), 'run')} of {self._config} started, not one"
            )
        return answer.runs[0]

    def _wait(self, run: TransferRun) -> TransferRun:
        """The run in its final state, however long that takes."""
        while run.state in _UNFINISHED:
            time.sleep(self._poll)
            with self._failing(f"lost contact with run {run.name} of"):
                run = self._client.get_transfer_run(
                    name=run.name, retry=self._retry, timeout=_TIMEOUT
                )
        return run

    def _ended_well(self, run: TransferRun, wanted: dict[str, str]) -> bool:
        return run.state == TransferState.SUCCEEDED and _parameters(run) == wanted

    def _failure(self, run: TransferRun) -> WarehouseError:
        what = f"transfer run {run.name} ended as {TransferState(run.state).name}"
        message = said_by(run.error_status.message, MESSAGE)
        used_up = explain("", message)
        if used_up is not None:
            return QuotaExceeded(f"{what}: {used_up}. Google says: {message}")
        return WarehouseError(f"{what}: {message or 'no reason given'}; nothing was loaded")

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.GoogleAPIError, GoogleAuthError) as error:
            cause = error.cause if isinstance(error, exceptions.RetryError) else error
            message = said_by(cause, MESSAGE)
            used_up = explain("", message)
            if used_up is not None:
                raise QuotaExceeded(f"{what} {self._config}: {used_up}. {message}") from error
            raise WarehouseError(f"{what} {self._config}: {message}") from error


def _parameters(run: TransferRun) -> dict[str, str]:
    """The parameters that a run has, as far as they decide what it loads and where."""
    names = (
        "data_path_template",
        "destination_table_name_template",
        "file_format",
        "write_disposition",
    )
    return {name: str(dict(run.params).get(name, "")) for name in names}
