"""The Data API and the market service: two hosts, each with a budget of its own."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import NamedTuple

from polycopy_assets.settings.checked import refuse_credentials
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.http import Http
from polycopy_assets.sources.masking import Mask, proxy_secrets


class Sending(NamedTuple):
    """How requests are sent; the fields are the arguments of `sources.open.open_source`.

    `routes` are the windows of single routes, beside those of their host.
    """

    windows: Sequence[Window]
    concurrency: int
    timeout: float
    proxy: str = ""
    idle: float = float("inf")
    permit: Callable[[], None] = lambda: None
    on_request: Callable[[], None] = lambda: None
    routes: Mapping[str, Sequence[Window]] = MappingProxyType({})


@asynccontextmanager
async def two_hosts(
    url: str, markets_url: str, how: Sending, markets_windows: Sequence[Window] = ()
) -> AsyncIterator[tuple[Http, Http]]:
    """The Data API at `url` and the market service at `markets_url`, closed with the context.

    `markets_windows` are those of the market service, if they are not those of `how`. Raises
    ConfigurationError for a URL with a password.
    """
    refuse_credentials("the source's URL", url)
    refuse_credentials("the market service's URL", markets_url)

    def http(base: str, windows: Sequence[Window]) -> Http:
        return Http(
            base,
            windows=windows,
            routes=how.routes,
            concurrency=how.concurrency,
            timeout=how.timeout,
            proxy=how.proxy,
            mask=Mask([], proxy_secrets(how.proxy)),
            on_request=how.on_request,
            idle=how.idle,
            permit=how.permit,
        )

    async with (
        http(markets_url, markets_windows or how.windows) as markets,
        http(url, how.windows) as data,
    ):
        # One host for both, as the sample API is: then they share a budget too.
        yield data, data if markets_url == url else markets
