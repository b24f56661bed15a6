"""Opens the source that the settings name."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.settings.checked import clean_key, refuse_credentials
from polycopy_assets.sources import dome
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.dome import Dome
from polycopy_assets.sources.http import Http
from polycopy_assets.sources.masking import Mask, proxy_secrets
from polycopy_assets.sources.polymarket import Polymarket
from polycopy_assets.trades.horizon import DEFAULT_MAX_LAG
from polycopy_assets.trades.page import PageSource, Witness

_KINDS = {Dome.name: Dome, Polymarket.name: Polymarket}


def can_count(kind: str) -> bool:
    """Whether the source `kind` has a separate count of trades."""
    return issubclass(_KINDS[kind], Witness)


def check_can_count(kind: str, feed: Feed) -> None:
    """Raises ConfigurationError if the source `kind` has no count of `feed` to compare with."""
    if not feed.counted:
        raise ConfigurationError(f"no source has a count of {feed.rows} to compare with")
    if not can_count(kind):
        able = ", ".join(name for name in _KINDS if can_count(name))
        raise ConfigurationError(
            f"POLYCOPY_SOURCE={kind!r} has no count of trades to compare with;"
            f" sources that have one: {able}"
        )


@asynccontextmanager
async def open_source(
    kind: str,
    url: str,
    feed: Feed,
    *,
    windows: Sequence[Window],
    routes: Mapping[str, Sequence[Window]] = MappingProxyType({}),
    left_out: Collection[str] = (),
    concurrency: int,
    timeout: float,  # noqa: ASYNC109 - of one silence, not of the whole
    api_key: str = "",
    max_lag: float = DEFAULT_MAX_LAG,
    proxy: str = "",
    idle: float = float("inf"),
    permit: Callable[[], None] = lambda: None,
    on_request: Callable[[], None] = lambda: None,
) -> AsyncIterator[PageSource]:
    """The source `kind` (`polymarket` or `dome`) at `url` for `feed`, closed with the context.

    `routes` are the windows of single paths, beside `windows` for all; `left_out` are types of rows
    that are not wanted, for a feed that has types; `timeout` is seconds;
    `api_key` is needed by `dome` alone; `max_lag` is how many seconds the feed may lag, for sources
    that report their lag; `proxy` is the URL of the proxy to go through; `idle` is for how many
    seconds no other process has sent this source a request: earlier requests still count against
    the budget. `permit` raises Stopped or OutOfTime if no more requests may be sent. Raises
    ConfigurationError for a URL or a key that cannot be used, or a source that does not serve the
    feed.
    """
    if kind not in feed.endpoints:
        able = ", ".join(feed.endpoints)
        raise ConfigurationError(
            f"POLYCOPY_SOURCE={kind!r} does not serve {feed.rows}; sources that do: {able}"
        )
    is_dome = kind == Dome.name
    refuse_credentials("the source's URL", url)
    api_key = clean_key(api_key)
    async with Http(
        url,
        windows=windows,
        routes=routes,
        concurrency=concurrency,
        timeout=timeout,
        headers={"Authorization": f"Bearer {api_key}"} if is_dome else None,
        proxy=proxy,
        mask=Mask([api_key] if is_dome else [], [api_key, *proxy_secrets(proxy)]),
        explain=dome.explain if is_dome else lambda status, body: None,
        on_request=on_request,
        idle=idle,
        permit=permit,
    ) as http:
        yield (
            Dome(http, feed)
            if is_dome
            else Polymarket(http, feed, left_out=left_out, max_lag=max_lag)
        )
