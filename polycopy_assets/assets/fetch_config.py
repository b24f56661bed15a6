"""How a run that fetches a feed is configured: what it is to fetch."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar

import dagster as dg
from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from polycopy_assets.feeds.base import Feed
from polycopy_assets.guard.ours import Job, job_of

Select = Literal["chosen", "remaining", "due", "failed", "refresh", "all"]
Mode = Literal["missing", "full"]
Step = TypeVar("Step", bound=Callable[..., object])


class FetchConfig(dg.Config):
    """What to fetch: of the chosen partitions or, in a run without partitions, of all wallets."""

    select: Select = Field(
        default="chosen",
        description="`chosen`: all chosen partitions or wallets; if none are chosen, the job "
        "`fetch` takes `remaining`, and other runs fail. `remaining`: wallets without a record, or "
        "with an unfinished full refetch; complete wallets are not fetched. `all`: also trades "
        "newer than the coverage of complete wallets, least recently updated first. `failed`: "
        "wallets whose latest attempt failed. `due`: remaining and failed wallets, but failed ones "
        "only when their next attempt is due. `refresh`: like `all`, but failed wallets only when "
        "their next attempt is due.",
    )
    wallets: list[str] = Field(
        default=[],
        description="Only these wallets, in a run without partitions. They must be partitions. One "
        "run fetches them all, however scattered they are.",
    )
    mode: Mode = Field(
        default="missing",
        description="`missing`: only what the store does not have. `full`: everything again; the "
        "existing trades stay valid until the new ones are recorded, and are then removed.",
    )
    older_than: int = Field(
        default=0,
        ge=0,
        description="With `all` and `refresh`: complete wallets whose coverage ended less than so "
        "many seconds ago are left out; 0 means none. So a refresh that is started again does not "
        "begin again.",
    )
    limit: int = Field(default=0, ge=0, description="The most wallets to fetch; 0 means no limit.")


def described_for(feed: Feed) -> Callable[[Step], Step]:
    """Has what a step is configured by name the job and the rows of `feed`."""

    def described(step: Step) -> Step:
        step.__annotations__["config"] = _config_of(feed)
        return step

    return described


@cache
def _config_of(feed: Feed) -> type[FetchConfig]:
    if feed.bare:
        return FetchConfig
    fields: dict[str, Any] = {
        name: (
            field.annotation,
            FieldInfo.merge_field_infos(field, description=_said(field.description or "", feed)),
        )
        for name, field in FetchConfig.model_fields.items()
    }
    return create_model("FetchConfig", __base__=FetchConfig, **fields)


def _said(text: str, feed: Feed) -> str:
    """A description that names the first feed's job and rows, for `feed`."""
    job = f"`{job_of(Job.FETCH, feed)}`"
    return text.replace(f"`{Job.FETCH}`", job).replace("trades", feed.rows)
