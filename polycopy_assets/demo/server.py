"""Serves the sample API on a free port of 127.0.0.1, on a thread of its own."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.status import HTTP_404_NOT_FOUND
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polycopy_assets.demo import board_routes, control, dome_routes, polymarket_routes
from polycopy_assets.demo.freshness import now
from polycopy_assets.demo.ledger import routes as ledger_routes
from polycopy_assets.demo.state import State, v2_error


class Served(msgspec.Struct, frozen=True):
    """A running sample API: its base URL, and what it serves and counts."""

    url: str
    state: State


def app(state: State) -> Starlette:
    """The ASGI application: both contracts and the control routes."""
    return Starlette(
        routes=[
            *polymarket_routes.routes(state),
            *board_routes.routes(state),
            *ledger_routes.routes(state),
            *dome_routes.routes(state),
            *control.routes(state),
        ],
        exception_handlers={404: _no_such_route, 405: _no_such_route},
    )


def _dated(inner: ASGIApp, state: State) -> ASGIApp:
    """The application, with `Date` and `Age` on every answer as `state` has them."""

    async def dated(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = state.freshness.headers(now())
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in headers.items()),
                ]
            await send(message)

        await inner(scope, receive, sending)

    return dated


def _no_such_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTP_404_NOT_FOUND
    code = "not_found" if status == HTTP_404_NOT_FOUND else "method_not_allowed"
    return v2_error(status, code, "no such route")


@contextmanager
def serve(state: State, port: int = 0) -> Iterator[Served]:
    """Serves until the context ends; raises OSError if the port is taken."""
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    config = uvicorn.Config(
        _dated(app(state), state),
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=0,
        date_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(_wanted)
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve([listener])), name="sample-api", daemon=True
    )
    thread.start()
    try:
        # The listener accepts connections from the start; they wait until the loop runs.
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", state)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _wanted(entry: logging.LogRecord) -> bool:
    """Drops log lines about intended faults: closed connections, and hanging answers."""
    if entry.exc_info and isinstance(
        entry.exc_info[1], ConnectionResetError | asyncio.CancelledError
    ):
        return False
    return "timeout graceful shutdown exceeded" not in entry.getMessage()
