"""`/demo/…`: looking at the sample API and steering it; never counted, never failing."""

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo.entry import activity_row
from polycopy_assets.demo.freshness import now
from polycopy_assets.demo.recorded import from_activity_rows, from_v2_rows
from polycopy_assets.demo.state import State, json
from polycopy_assets.demo.steering import Steering, apply
from polycopy_assets.demo.world import v2_row


def routes(state: State) -> list[Route]:
    """The routes over `state`."""
    return [*_looking(state), *_changing(state)]


def _looking(state: State) -> list[Route]:
    async def wallets(_: Request) -> Response:
        return json(state.world.wallets())

    async def counts(_: Request) -> Response:
        return json(
            {
                "trade_requests": state.counts.trade_requests,
                "activity_requests": state.activity.trade_requests,
                "tip_requests": state.tips.trade_requests,
                "routes": state.requests,
                "requests": state.counts.requests,
                "count_requests": state.counts.count_requests,
                "board_requests": len(state.counts.board_arrivals),
                "rows": state.counts.rows,
                "faults": state.faults.counts,
                "refused": state.refused,
                "refused_by_budget": state.limits.refused,
            }
        )

    async def log(request: Request) -> Response:
        wallet = request.query_params.get("wallet", "").lower()
        log = state.counts_of(_feed(request)).log
        return json([item for item in log if wallet in ("", item.wallet)])

    async def truth(request: Request) -> Response:
        wallet = request.query_params.get("wallet", "")
        if _feed(request) == "activity":
            ledger = reversed(state.world.entries(wallet))
            rows = [activity_row(entry, state.labels, now()) for entry in ledger]
        else:
            rows = [v2_row(trade) for trade in state.world.truth(wallet)]
        return Response(b"\n".join(msgspec.json.encode(row) for row in rows))

    async def standing(request: Request) -> Response:
        return json(state.world.standing(request.query_params.get("wallet", "")))

    return [
        Route("/demo/wallets", wallets),
        Route("/demo/counts", counts),
        Route("/demo/log", log),
        Route("/demo/truth", truth),
        Route("/demo/standing", standing),
    ]


def _changing(state: State) -> list[Route]:
    async def reset(_: Request) -> Response:
        state.counts.reset()
        state.activity.reset()
        state.tips.reset()
        state.requests.clear()
        return json({})

    async def trades(request: Request) -> Response:
        lines = (await request.body()).splitlines()
        rows = [msgspec.json.decode(line) for line in lines if line]
        state.world.add(from_v2_rows(rows, sequence=time.monotonic_ns()))
        return json({"added": len(rows)})

    async def activity(request: Request) -> Response:
        lines = (await request.body()).splitlines()
        rows = [msgspec.json.decode(line) for line in lines if line]
        state.world.add_entries(from_activity_rows(rows, sequence=time.monotonic_ns()))
        return json({"added": len(rows)})

    async def steer(request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await request.body(), type=Steering)
            apply(state, wanted)
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            return json({"error": str(error)}, 400)
        return json({})

    return [
        Route("/demo/reset", reset, methods=["POST"]),
        Route("/demo/trades", trades, methods=["POST"]),
        Route("/demo/activity", activity, methods=["POST"]),
        Route("/demo/steer", steer, methods=["POST"]),
    ]


def _feed(request: Request) -> str:
    """The feed that is asked about: trades, unless activity is named."""
    return "activity" if request.query_params.get("feed") == "activity" else "trades"
