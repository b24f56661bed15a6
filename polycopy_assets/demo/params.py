"""Parameters of Data API v2: what every route of it refuses, and the words it does so with."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping

from starlette.requests import Request
from starlette.responses import Response

from polycopy_assets.demo.contract import whole_number
from polycopy_assets.demo.state import v2_error

PROTOCOL_CONTRACTS = frozenset(
    {
        "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e",
        "0xc5d563a36ae78145c45a50134d48a1215220f80a",
        "0x4d97dcd97ec945f40cf65f87097ace5ea0476045",
    }
)
CONDITION = re.compile(r"0x(?:[0-9a-fA-F]{62}|[0-9a-fA-F]{64})")
NUMBER = re.compile(r"[0-9]{1,78}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ALIASES: Mapping[str, str] = {"condition_id": "condition"}


class Invalid(ValueError):
    """A parameter that the API refuses, and which."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


def v2_handler(answer: Callable[[dict[str, str]], Response]) -> Callable[..., Awaitable[Response]]:
    """The handler of a route: its parameters by their names in snake case, 400 for a bad one."""

    async def handler(request: Request) -> Response:
        try:
            return answer(snake(request.query_params))
        except Invalid as error:
            return v2_error(400, "invalid_request", str(error), parameter=error.parameter)

    return handler


def snake(params: Mapping[str, str]) -> dict[str, str]:
    """Parameters by their names in snake case: the API takes camel case too, and an alias."""
    found: dict[str, str] = {}
    for name, value in params.items():
        plain = re.sub(r"(?<=[a-z])[A-Z]", lambda match: "_" + match[0].lower(), name)
        found[_ALIASES.get(plain, plain)] = value
    return found


def known(params: Mapping[str, str], names: Collection[str]) -> None:
    """Refuses a parameter that the route does not have."""
    for name in params:
        if name not in names:
            raise Invalid(name, "unknown parameter")


def user_of(params: Mapping[str, str]) -> str:
    """The wallet that is asked for, as it was sent."""
    user = params.get("user", "")
    if not _ADDRESS.fullmatch(user):
        raise Invalid("user", "not an address")
    if user.lower() in PROTOCOL_CONTRACTS:
        raise Invalid("user", "a protocol contract, not a user")
    return user


def whole(params: Mapping[str, str], name: str, default: int) -> int:
    """A whole number that is not negative."""
    try:
        return whole_number(params.get(name), default)
    except ValueError as error:
        raise Invalid(name, str(error)) from error


def amount(params: Mapping[str, str], name: str, default: float) -> float:
    """A number."""
    try:
        return float(params.get(name, default))
    except ValueError as error:
        raise Invalid(name, "not a number") from error


def choice(
    params: Mapping[str, str], name: str, accepted: Collection[str], default: str | None
) -> str | None:
    """One of the words that are accepted."""
    value = params.get(name, default)
    if value is not None and value not in accepted:
        raise Invalid(name, f"one of {', '.join(accepted)}")
    return value


def flag(params: Mapping[str, str], name: str, *, default: bool) -> bool:
    """`true` or `false`."""
    return choice(params, name, ("true", "false"), str(default).lower()) == "true"


def several(
    params: Mapping[str, str], name: str, most: int, pattern: re.Pattern[str]
) -> tuple[str, ...]:
    """Distinct values, separated by commas, in lower case."""
    values = tuple(dict.fromkeys(v.strip().lower() for v in params.get(name, "").split(",")))
    values = tuple(value for value in values if value)
    if len(values) > most:
        raise Invalid(name, f"at most {most}")
    for value in values:
        if not pattern.fullmatch(value):
            raise Invalid(name, f"not valid: {value[:100]}")
    return values


def only_one_of(params: Mapping[str, str], *names: str) -> str | None:
    """Which of `names` was sent; refuses two of them."""
    sent = [name for name in names if params.get(name)]
    if len(sent) > 1:
        raise Invalid(sent[1], f"not together with {sent[0]}")
    return sent[0] if sent else None
