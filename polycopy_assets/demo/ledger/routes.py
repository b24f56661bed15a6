"""All routes about ledgers and markets."""

from starlette.routing import Route

from polycopy_assets.demo.ledger import (
    activity_routes,
    combo_routes,
    gamma_routes,
    position_routes,
    token_routes,
)
from polycopy_assets.demo.ledger.catalogue import Catalogue
from polycopy_assets.demo.state import State


def routes(state: State) -> list[Route]:
    """The routes over `state`."""
    catalogue = Catalogue(state.world)
    return [
        *activity_routes.routes(state),
        *combo_routes.routes(state, catalogue),
        *position_routes.routes(state, catalogue),
        *token_routes.routes(state, catalogue),
        *gamma_routes.routes(state, catalogue),
    ]
