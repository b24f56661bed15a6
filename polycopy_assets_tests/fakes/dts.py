"""BigQuery Data Transfer Service on loopback: the calls that we make, over real gRPC.

Five are made to load; one makes the configuration, as Terraform does.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.cloud import bigquery_datatransfer_v1 as dts
from google.cloud.bigquery_datatransfer_v1.services.data_transfer_service.transports import (
    DataTransferServiceGrpcTransport,
)
from google.protobuf import empty_pb2  # noqa: F401  registers what the messages refer to
from google.rpc import status_pb2

SERVICE = "google.cloud.bigquery.datatransfer.v1.DataTransferService"
CONFIG = "projects/proj/locations/eu/transferConfigs/abc"
STATES = dts.TransferState


class Invalid(Exception):
    """A request that the service refuses."""


@dataclass
class DTS:
    """A running service with one transfer config.

    A run stays unfinished for `polls` looks at it, then `load` does its work (parameters, dataset)
    and it ends in the first of `endings`, or well. `fail` maps a method to status codes to come.
    """

    target: str
    load: Callable[[dict[str, str], str], None]
    config: Any = None
    polls: int = 1
    endings: list[tuple[int, str]] = field(default_factory=list)
    fail: dict[str, list[grpc.StatusCode]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    runs: dict[str, Any] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    clock_behind: timedelta = timedelta(seconds=30)
    """How far its clock is behind that of the client."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def client(self) -> dts.DataTransferServiceClient:
        """Google's own client on this service."""
        channel = grpc.insecure_channel(self.target)
        return dts.DataTransferServiceClient(
            transport=DataTransferServiceGrpcTransport(channel=channel)
        )

    def create(self, made: Any) -> Any:
        """Makes the configuration, in place of the one that is there; raises Invalid."""
        if made.name or made.data_source_id != "google_cloud_storage" or not made.display_name:
            raise Invalid("a name, no display_name, or another source")
        # https://cloud.google.com/bigquery/docs/cloud-storage-transfer: what is required
        required = {"data_path_template", "destination_table_name_template", "file_format"}
        if missing := required - set(dict(made.params)):
            raise Invalid(f"missing parameters: {', '.join(sorted(missing))}")
        made.name = CONFIG
        self.config = made
        return made

    def start(self, params: dict[str, str]) -> Any:
        """A run with `params`, under way."""
        run = dts.TransferRun(
            name=f"{CONFIG}/runs/{next(self.numbers)}",
            state=STATES.PENDING,
            params=params,
            destination_dataset_id=self.config.destination_dataset_id,
        )
        self.runs[run.name] = run
        return run

    def look(self, name: str) -> Any:
        """The run; one look further on its way."""
        run = self.runs[name]
        self.looks[name] = self.looks.get(name, 0) + 1
        if run.state == STATES.PENDING and self.looks[name] > self.polls // 2:
            run.state = STATES.RUNNING
        if run.state == STATES.RUNNING and self.looks[name] >= self.polls:
            state, message = self.endings.pop(0) if self.endings else (STATES.SUCCEEDED, "")
            if state == STATES.SUCCEEDED:
                self.load(
                    {key: str(value) for key, value in dict(run.params).items()},
                    run.destination_dataset_id,
                )
            run.state = state
            run.error_status = status_pb2.Status(message=message)
        return run


@contextmanager
def transfer_service(dataset: str, load: Callable[[dict[str, str], str], None]) -> Iterator[DTS]:
    """The service on a free port of loopback, its config set up as the documentation asks."""
    server = grpc.server(ThreadPoolExecutor(8))
    port = server.add_insecure_port("127.0.0.1:0")
    running = DTS(f"127.0.0.1:{port}", load)
    running.config = dts.TransferConfig(
        name=CONFIG,
        data_source_id="google_cloud_storage",
        destination_dataset_id=dataset,
        params={"max_bad_records": "0"},
        schedule_options=dts.ScheduleOptions(disable_auto_scheduling=True),
    )

    def list_runs(request: Any) -> Any:
        found = [run for run in running.runs.values() if run.state in list(request.states)]
        return dts.ListTransferRunsResponse(transfer_runs=found)

    def update(request: Any) -> Any:
        assert list(request.update_mask.paths) == ["params"]
        running.config.params = request.transfer_config.params
        return running.config

    def start(request: Any) -> Any:
        # https://cloud.google.com/bigquery/docs/reference/datatransfer/rest/v1/projects.locations.transferConfigs/startManualRuns
        # "requestedRunTime must be a past time": by the service's clock, not by the client's.
        if not request.requested_run_time < datetime.now(UTC) - running.clock_behind:
            raise Invalid("requested_run_time must be in the past")
        params = {key: str(value) for key, value in dict(running.config.params).items()}
        return dts.StartManualTransferRunsResponse(runs=[running.start(params)])

    methods: dict[str, tuple[Any, Any, Callable[[Any], Any]]] = {
        "ListTransferRuns": (dts.ListTransferRunsRequest, dts.ListTransferRunsResponse, list_runs),
        "GetTransferConfig": (
            dts.GetTransferConfigRequest,
            dts.TransferConfig,
            lambda _: running.config,
        ),
        "CreateTransferConfig": (
            dts.CreateTransferConfigRequest,
            dts.TransferConfig,
            lambda request: running.create(request.transfer_config),
        ),
        "UpdateTransferConfig": (dts.UpdateTransferConfigRequest, dts.TransferConfig, update),
        "StartManualTransferRuns": (
            dts.StartManualTransferRunsRequest,
            dts.StartManualTransferRunsResponse,
            start,
        ),
        "GetTransferRun": (
            dts.GetTransferRunRequest,
            dts.TransferRun,
            lambda request: running.look(request.name),
        ),
    }

    def handler(name: str) -> Any:
        request_type, response_type, answer = methods[name]

        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            running.calls.append(name)
            if running.fail.get(name):
                context.abort(running.fail[name].pop(0), "injected")
            try:
                return answer(request)
            except Invalid as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

        return grpc.unary_unary_rpc_method_handler(
            serve,
            request_deserializer=request_type.deserialize,
            response_serializer=response_type.serialize,
        )

    handlers = {name: handler(name) for name in methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.start()
    try:
        yield running
    finally:
        server.stop(1).wait()
