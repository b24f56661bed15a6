"""`/demo/…`: looking at the sample API and steering it; never counted, never failing."""

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo.freshness import Freshness
from polycopy_assets.demo.state import State, json
from polycopy_assets.demo.world import from_v2_rows, v2_row


class Steering(msgspec.Struct):
    """What may be changed while the server runs."""

    lag_seconds: int | None = None
    latency: float | None = None
    down: bool | None = None
    board_shift: int | None = None
    names: dict[str, str] | None = None
    freshness: Freshness | None = None
    slow_seconds: float | None = None
    faults: dict[str, float] | None = None
    wallet_faults: dict[str, str] | None = None


def routes(state: State) -> list[Route]:
    """The routes over `state`."""

    async def wallets(_: Request) -> Response:
        return json(state.world.wallets())

    async def counts(_: Request) -> Response:
        return json(
            {
                "trade_requests": state.counts.trade_requests,
                "requests": state.counts.requests,
                "count_requests": state.counts.count_requests,
                "board_requests": len(state.counts.board_arrivals),
                "rows": state.counts.rows,
                "faults": state.faults.counts,
                "refused": state.refused,
            }
        )

    async def log(request: Request) -> Response:
        wallet = request.query_params.get("wallet", "").lower()
        return json([item for item in state.counts.log if wallet in ("", item.wallet)])

    async def reset(_: Request) -> Response:
        state.counts.reset()
        return json({})

    async def truth(request: Request) -> Response:
        rows = (v2_row(t) for t in state.world.truth(request.query_params.get("wallet", "")))
        return Response(b"\n".join(msgspec.json.encode(row) for row in rows))

    async def trades(request: Request) -> Response:
        lines = (await request.body()).splitlines()
        rows = [msgspec.json.decode(line) for line in lines if line]
        state.world.add(from_v2_rows(rows, sequence=time.monotonic_ns()))
        return json({"added": len(rows)})

    async def steer(request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await request.body(), type=Steering)
            apply(state, wanted)
        except (msgspec.DecodeError, ValueError) as error:
            return json({"error": str(error)}, 400)
        return json({})

    return [
        Route("/demo/wallets", wallets),
        Route("/demo/counts", counts),
        Route("/demo/log", log),
        Route("/demo/reset", reset, methods=["POST"]),
        Route("/demo/truth", truth),
        Route("/demo/trades", trades, methods=["POST"]),
        Route("/demo/steer", steer, methods=["POST"]),
    ]


def apply(state: State, wanted: Steering) -> None:
    """Changes what `wanted` names; raises ValueError for a fault that does not exist."""
    if wanted.faults is not None:
        state.faults.set(wanted.faults)
    if wanted.wallet_faults is not None:
        state.faults.set_wallets(wanted.wallet_faults)
    if wanted.lag_seconds is not None:
        state.lag_seconds = wanted.lag_seconds
    if wanted.freshness is not None:
        state.freshness = wanted.freshness
    if wanted.latency is not None:
        state.latency = wanted.latency
    if wanted.slow_seconds is not None:
        state.faults.slow_seconds = wanted.slow_seconds
    if wanted.down is not None:
        state.down = wanted.down
    if wanted.board_shift is not None:
        state.board_shift = wanted.board_shift
    if wanted.names is not None:
        state.world.names = {wallet.lower(): name for wallet, name in wanted.names.items()}
