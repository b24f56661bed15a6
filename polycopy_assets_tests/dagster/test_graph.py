"""The asset graph, pinned: a change of it has to be meant."""

import json
from pathlib import Path
from unittest.mock import patch

from polycopy_assets.definitions import build
from polycopy_assets.settings import read_settings

SNAPSHOT = Path(__file__).parent / "graph.json"


def graph() -> dict[str, object]:
    definitions = build(read_settings({}))
    resolved = definitions.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "depends_on": sorted(k.to_user_string() for k in resolved.get(key).parent_keys),
            "partitions": getattr(resolved.get(key).partitions_def, "name", None),
            "group": resolved.get(key).group_name,
            "kinds": sorted(resolved.get(key).kinds),
            "owners": list(resolved.get(key).owners),
            "executable": resolved.get(key).is_executable,
            "described": bool(resolved.get(key).description),
            "columns": [
                c.name for c in resolved.get(key).metadata["dagster/column_schema"].columns
            ],
        }
        for key in sorted(resolved.get_all_asset_keys())
    }
    return {
        "assets": assets,
        "checks": sorted(
            f"{k.asset_key.to_user_string()}: {k.name}" for k in resolved.asset_check_keys
        ),
        "jobs": sorted(job.name for job in definitions.jobs or []),
    }


def test_the_asset_graph_is_the_one_that_was_agreed():
    assert graph() == json.loads(SNAPSHOT.read_text())


if __name__ == "__main__":
    with patch.dict("os.environ"):
        SNAPSHOT.write_text(json.dumps(graph(), indent=2) + "\n")
