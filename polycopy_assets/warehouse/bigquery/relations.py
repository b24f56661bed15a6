"""What people read of the tables in BigQuery: descriptions of them, and views on that of a feed.

Descriptions are written where there are none, so those of other people stay. A view is replaced if
its label says that it is ours and of another form; what else has its name stays too. None of it
bills anything, and none of it is needed to load: what Google refuses is logged, one line for each
table or view, and the others are written all the same.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence

from google.cloud import bigquery
from google.cloud.bigquery.table import TableListItem

from polycopy_assets.feeds.base import Feed
from polycopy_assets.text import said_by
from polycopy_assets.trades.columns import Relation
from polycopy_assets.warehouse.bigquery.dataset import REFUSED, Dataset
from polycopy_assets.warehouse.bigquery.table import described
from polycopy_assets.warehouse.joined import DIMENSION_TABLES, ready
from polycopy_assets.warehouse.tables import tables

OURS = "polycopy_table"
"""The label of what is replaced as a whole, so that nothing of other people ever is."""

VIEW_LABEL = "polycopy_view"
"""Label of a view of ours: a digest of what it should be."""

_log = logging.getLogger(__name__)


class Relations:
    """The descriptions and views of a dataset that belong to `feed` or to all."""

    def __init__(self, dataset: Dataset, feed: Feed) -> None:
        self._dataset = dataset
        self._feed = feed
        self._tables = tables([feed])
        self._done = False

    def describe(self) -> None:
        """Writes the descriptions and views that are missing, once; no views without the table.

        If nothing is missing, that is a request for each table, and one for all views.
        """
        if self._done:
            return
        there = {item.table_id: item for item in self._dataset.relations()}
        for name in self._tables:
            table = self._dataset.found(name) if name in there else None
            if table is not None:
                self._describe_table(table)
        self._done = self._tables.keys() <= there.keys()
        self._make_views(there)

    def describe_joined(self) -> None:
        """Makes the views that are missing, after the tables `tokens` and `markets` were made."""
        self._make_views({item.table_id: item for item in self._dataset.relations()})

    def _make_views(self, there: Mapping[str, TableListItem]) -> None:
        views = dict(self._feed.views) if self._feed.table in there else {}
        # Dimensions of somebody else may have other columns.
        others = {n for n in DIMENSION_TABLES & there.keys() if OURS not in there[n].labels}
        views |= {n: view.relation for n, view in ready([self._feed], there.keys() - others)}
        for name, view in views.items():
            item = there.get(name)
            if item is None or self._is_older(item, self._form(name, view)):
                self._make_view(name, view, new=item is None)

    def _describe_table(self, table: bigquery.Table) -> None:
        relation = self._tables[table.table_id]
        schema = described(table.schema, relation.columns)
        changed = ["schema"] if _descriptions(schema) != _descriptions(table.schema) else []
        if not table.description:
            table.description = relation.meaning
            changed.append("description")
        if not changed:
            return
        table.schema = schema
        try:
            self._dataset.update(table, changed)
        except REFUSED as error:
            self._say(f"the descriptions of table {table.table_id} are left as they are", error)

    @staticmethod
    def _is_older(item: TableListItem, form: str) -> bool:
        """Whether it is a view of ours, and not as it should be."""
        made = item.labels.get(VIEW_LABEL)
        return item.table_type == "VIEW" and made is not None and made != form

    def _make_view(self, name: str, relation: Relation, *, new: bool) -> None:
        view = bigquery.Table(self._dataset.name(name))
        view.view_query = self._dataset.sql(name, self._feed)
        view.description = relation.meaning
        view.labels = {VIEW_LABEL: self._form(name, relation)}
        try:
            if new:
                made = self._dataset.create(view)
            else:
                made = self._dataset.update(view, ["view_query", "description", "labels"])
            # Only BigQuery knows the types of its columns.
            made.schema = described(made.schema, relation.columns)
            self._dataset.update(made, ["schema"])
        except REFUSED as error:
            self._say(f"view {name} {'is not made' if new else 'is left as it is'}", error)

    def _form(self, name: str, relation: Relation) -> str:
        whole = self._dataset.sql(name, self._feed) + repr(relation)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def _say(self, what: str, error: Exception) -> None:
        _log.warning(f"{self._dataset.uri}: {what}, because BigQuery refuses it: {said_by(error)}")


def _descriptions(schema: Sequence[bigquery.SchemaField]) -> list[str | None]:
    return [field.description for field in schema]
