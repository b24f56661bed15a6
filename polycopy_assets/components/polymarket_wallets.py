"""`PolymarketWallets`: the whole asset graph as a component of another Dagster project."""

import os
from typing import Annotated, Any

import dagster as dg
from pydantic import Field

from polycopy_assets.components.attributes import naming, read_chosen, read_wallets
from polycopy_assets.components.registration import in_yaml, registration
from polycopy_assets.components.templates import Value, as_text, as_texts, as_values
from polycopy_assets.errors import ConfigurationError

_FIRST = {"wallets": [], "store": "data/store", "warehouse": "data/trades.duckdb"}


class _Scaffolder(dg.Scaffolder[Any]):
    """Writes a `defs.yaml` that loads as it stands."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        dg.scaffold_component(request, _FIRST)


@dg.scaffold_with(_Scaffolder)
class PolymarketWallets(dg.Component, dg.Resolvable, dg.Model):
    """Every trade of the named Polymarket wallets, once, in one table of your warehouse."""

    wallets: Annotated[
        list[str | int],
        dg.Resolver(as_texts, model_field_type=list[str | int], inject_before_resolve=False),
    ] = Field(
        default=[],
        description="Addresses, each in quotation marks: 0x and 40 hex digits. The job"
        " `register_wallets` adds them to the table `traders`.",
    )
    store: Annotated[
        str, dg.Resolver(as_text, model_field_type=str, inject_before_resolve=False)
    ] = Field(description="A directory, relative to the project, or gs://BUCKET/PREFIX.")
    warehouse: Annotated[
        str, dg.Resolver(as_text, model_field_type=str, inject_before_resolve=False)
    ] = Field(description="A DuckDB file, relative to the project, or bigquery://PROJECT/DATASET.")
    settings: Annotated[
        dict[str, Value],
        dg.Resolver(as_values, model_field_type=dict[str, Value], inject_before_resolve=False),
    ] = Field(
        default={},
        description="Other settings by the names of their environment variables, for example"
        " POLYCOPY_RATE_LIMIT. They win over the environment. No secrets: those stay there.",
        repr=False,
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, checks, jobs, sensors and schedules; raises ConfigurationError."""
        # `dg list components` imports this module in every project, and needs none of it.
        from polycopy_assets.assembly import build  # noqa: PLC0415

        with naming(context.path):
            _refuse_a_second(context)
            wallets = read_wallets(self.wallets)
            chosen = read_chosen(
                self.store,
                self.warehouse,
                self.settings,
                root=context.project_root,
                environ=os.environ,
            )
        ours, register = build(chosen), registration(wallets)
        return dg.Definitions(
            assets=ours.assets,
            asset_checks=ours.asset_checks,
            jobs=[*(ours.jobs or ()), register],
            sensors=[*(ours.sensors or ()), in_yaml(register, wallets)],
            schedules=ours.schedules,
            resources=ours.resources,
            # No executor: it would be that of the whole code location. Our jobs have their own.
        )


def _refuse_a_second(context: dg.ComponentLoadContext) -> None:
    found = len(context.component_tree.get_all_components(PolymarketWallets))
    if found > 1:
        raise ConfigurationError(
            f"there are {found} components PolymarketWallets, and their assets have the same"
            " names: put all wallets into one (or the others into a project of their own)"
        )
