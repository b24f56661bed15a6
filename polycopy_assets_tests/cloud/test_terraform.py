"""The files in deploy/terraform, read as a tree; nothing is asked of Google or of a registry."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import polars as pl
import pytest

from polycopy_assets.feeds.known import FEEDS

FOLDER = Path(__file__).parents[2] / "deploy" / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))
COLUMN_TYPES = {
    pl.String: "STRING",
    pl.Int64: "INT64",
    pl.Float64: "FLOAT64",
    pl.Datetime: "TIMESTAMP",
}

_WITHOUT_A_BLOCK = {"each", "self", "count", "path", "terraform"}
_NAME = re.compile(r"(?<![\w.\]])([A-Za-z_]\w*)\.([A-Za-z_]\w*)(?:\.([A-Za-z_]\w*))?(\[?)")


class Reference(NamedTuple):
    """A name used in an expression: where, what (`var.x`, `data.type.name`), and if indexed."""

    where: str
    name: str
    indexed: bool


@cache
def parsed(path: Path) -> dict[str, Any]:
    with path.open() as file:
        return hcl2.load(
            file,
            serialization_options=hcl2.SerializationOptions(
                with_comments=False, explicit_blocks=False
            ),
        )


def bare(text: Any) -> Any:
    """The value of a literal; expressions stay `${…}`."""
    if isinstance(text, dict):
        return {bare(key): bare(value) for key, value in text.items()}
    if isinstance(text, list):
        return [bare(item) for item in text]
    return text[1:-1] if isinstance(text, str) and text.startswith('"') else text


def blocks(kind: str) -> dict[str, Any]:
    """Blocks of a kind by address: `type.name`, or `name` where a block has one label only."""
    found: dict[str, Any] = {}
    for path in FILES:
        for block in parsed(path).get(kind, []):
            for label, body in block.items():
                if kind in ("resource", "data"):
                    for name, inner in body.items():
                        address = f"{bare(label)}.{bare(name)}"
                        assert address not in found, f"{address} is declared twice"
                        found[address] = inner
                else:
                    assert bare(label) not in found, f"{kind} {label} is declared twice"
                    found[bare(label)] = body
    return found


def resource(address: str) -> Any:
    return bare(blocks("resource")[address])


def of_type(kind: str) -> dict[str, Any]:
    every = bare(blocks("resource"))
    return {a.split(".")[1]: body for a, body in every.items() if a.split(".")[0] == kind}


def strings(tree: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from strings(value, f"{where}/{bare(key)}")
    elif isinstance(tree, list):
        for item in tree:
            yield from strings(item, where)
    elif isinstance(tree, str):
        yield where, tree


def code(text: str) -> str:
    """An expression without its literal text: what stands in quotes counts inside `${}` only."""
    kept: list[str] = []
    inside = ["code"]
    position = 0
    while position < len(text):
        two, one = text[position : position + 2], text[position]
        if inside[-1] == "text":
            if two == "${":
                inside.append("code")
                kept.append(" ")
            elif one == '"':
                inside.pop()
            position += 2 if one == "\\" or two == "${" else 1
            continue
        if one == '"':
            inside.append("text")
        elif one == "{":
            inside.append("code")
        elif one == "}":
            inside.pop()
        kept.append(" " if one in '"{}' else one)
        position += 1
    assert inside == ["code"], f"cannot be read: {text}"
    return "".join(kept)


def iterators(tree: Any) -> set[str]:
    """Names that `dynamic` blocks and `for` expressions bring in."""
    found = {name for _, text in strings(tree, "") for name in re.findall(r"\bfor (\w+) in", text)}
    if isinstance(tree, dict):
        for block in tree.get("dynamic", []):
            found |= {bare(label) for label in block}
        for value in tree.values():
            found |= iterators(value)
    elif isinstance(tree, list):
        for item in tree:
            found |= iterators(item)
    return found


def references() -> list[Reference]:
    found: list[Reference] = []
    for path in FILES:
        tree = parsed(path)
        known = iterators(tree) | _WITHOUT_A_BLOCK
        for where, text in strings(tree, path.name):
            for root, second, third, bracket in _NAME.findall(code(text)):
                if root in known:
                    continue
                is_data = root == "data"
                name = f"data.{second}.{third}" if is_data else f"{root}.{second}"
                found.append(Reference(where, name, bool(bracket) and (is_data or not third)))
    return found


def declared() -> dict[str, Any]:
    local = [block for path in FILES for block in parsed(path).get("locals", [])]
    return {
        **{f"var.{name}": body for name, body in blocks("variable").items()},
        **{f"local.{bare(name)}": value for block in local for name, value in block.items()},
        **blocks("resource"),
        **{f"data.{address}": body for address, body in blocks("data").items()},
    }


def local_value(name: str) -> Any:
    return bare(declared()[f"local.{name}"])


def default(name: str) -> Any:
    return bare(blocks("variable")[name])["default"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_parses(path: Path):
    assert parsed(path)


def test_the_files_are_there():
    names = {path.name for path in FILES}
    assert names >= {"versions.tf", "variables.tf", "storage.tf", "bigquery.tf", "iam.tf", "dts.tf"}


def test_every_name_that_is_used_is_declared():
    known = declared()
    used = references()
    assert len(used) > 50
    assert [item for item in used if item.name not in known] == []


def test_every_variable_and_local_is_used():
    used = {item.name for item in references()}
    names = {name for name in declared() if name.startswith(("var.", "local."))}
    assert names - used == set()


def test_what_has_a_count_is_indexed_and_nothing_else_is():
    known = declared()
    wrong = [
        item
        for item in references()
        if not item.name.startswith(("var.", "local.")) and "/depends_on" not in item.where
        if item.indexed != ("count" in known[item.name])
    ]
    assert wrong == []


def test_trades_has_the_columns_that_the_loader_writes():
    from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA

    expected = [
        {"name": name, "type": COLUMN_TYPES[type(kind)], "mode": "NULLABLE"}
        for name, kind in TABLE_SCHEMA.items()
    ]
    assert local_value("trades_schema") == expected
    table = resource("google_bigquery_table.trades")
    assert table["schema"] == "${jsonencode(local.trades_schema)}"


def test_traders_has_one_column():
    assert local_value("traders_schema") == [
        {"name": "wallet_address", "type": "STRING", "mode": "NULLABLE"}
    ]
    table = resource("google_bigquery_table.traders")
    assert table["schema"] == "${jsonencode(local.traders_schema)}"


def test_there_are_two_tables_and_they_are_protected():
    tables = of_type("google_bigquery_table")
    assert {name: body["table_id"] for name, body in tables.items()} == {
        "traders": "traders",
        "trades": "trades",
    }
    for table in tables.values():
        assert table["deletion_protection"] is True
        assert table["dataset_id"] == "${local.dataset}"
        assert table["lifecycle"] == [{"ignore_changes": ["schema", "labels"]}]


def test_trades_is_partitioned_by_month_and_clustered_by_wallet():
    table = resource("google_bigquery_table.trades")
    assert table["time_partitioning"] == [{"type": "MONTH", "field": "timestamp"}]
    assert table["clustering"] == ["wallet_address"]


def test_nothing_in_the_dataset_expires_by_itself():
    dataset = resource("google_bigquery_dataset.warehouse")
    assert dataset["delete_contents_on_destroy"] is False
    assert [where for where, _ in keys(blocks("resource")) if "expiration" in where] == []


def keys(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield bare(key), value
            yield from keys(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from keys(item)


def test_the_bucket_is_private_and_is_not_emptied():
    bucket = resource("google_storage_bucket.store")
    assert bucket["public_access_prevention"] == "enforced"
    assert bucket["uniform_bucket_level_access"] is True
    assert bucket["force_destroy"] is False
    assert bucket["soft_delete_policy"] == [
        {"retention_duration_seconds": "${var.soft_delete_retention_days * 86400}"}
    ]
    assert default("soft_delete_retention_days") == 7


def test_only_combined_parts_can_be_deleted_by_a_rule_and_by_default_nothing_is():
    bucket = resource("google_storage_bucket.store")
    assert bucket["lifecycle_rule"] == [
        {"action": [{"type": "AbortIncompleteMultipartUpload"}], "condition": [{"age": 1}]}
    ]
    (rule,) = bucket["dynamic"]
    assert rule == {
        "lifecycle_rule": {
            "for_each": "${var.combined_retention_days > 0 ? [var.combined_retention_days] : []}",
            "content": [
                {
                    "action": [{"type": "Delete"}],
                    "condition": [
                        {
                            "age": "${lifecycle_rule.value}",
                            "matches_prefix": [
                                f"${{local.object_prefix}}{feed.names.parts}"
                                for feed in FEEDS.values()
                            ],
                        }
                    ],
                }
            ],
        }
    }
    assert default("combined_retention_days") == 0


def test_bucket_and_dataset_share_one_location():
    assert resource("google_storage_bucket.store")["location"] == "${var.location}"
    assert resource("google_bigquery_dataset.warehouse")["location"] == "${var.location}"
    transfer = resource("google_bigquery_data_transfer_config.batches")
    assert transfer["location"] == "${local.dataset_location}"


@pytest.mark.parametrize(
    ("address", "switch"),
    [
        ("google_storage_bucket.store", "create_bucket"),
        ("google_bigquery_dataset.warehouse", "create_dataset"),
        ("google_bigquery_table.traders", "create_dataset"),
        ("google_bigquery_table.trades", "create_dataset"),
    ],
)
def test_what_exists_already_is_not_made(address: str, switch: str):
    assert resource(address)["count"] == f"${{var.{switch} ? 1 : 0}}"
    assert default(switch) is True


@pytest.mark.parametrize(
    ("address", "switch"),
    [
        ("google_storage_bucket.existing", "create_bucket"),
        ("google_bigquery_dataset.existing", "create_dataset"),
    ],
)
def test_what_exists_already_is_looked_up(address: str, switch: str):
    assert bare(blocks("data"))[address]["count"] == f"${{var.{switch} ? 0 : 1}}"


def test_predefined_roles_are_these_and_no_others():
    text = "\n".join(path.read_text() for path in FILES)
    for broad in ("roles/owner", "roles/editor", "roles/storage.admin", "roles/bigquery.admin"):
        assert broad not in text
    assert set(re.findall(r"roles/[\w.]+", text)) == {
        "roles/bigquery.dataEditor",
        "roles/bigquery.dataViewer",
        "roles/bigquery.jobUser",
        "roles/cloudsql.client",
        "roles/iam.serviceAccountUser",
        "roles/run.invoker",
        "roles/secretmanager.secretAccessor",
        "roles/storage.objectViewer",
    }


def test_custom_roles_permit_this_and_no_more():
    roles = of_type("google_project_iam_custom_role")
    assert {name: sorted(body["permissions"]) for name, body in roles.items()} == {
        "objects": ["storage.objects.create", "storage.objects.delete", "storage.objects.get"],
        "list": ["storage.buckets.get", "storage.objects.list"],
        "transfers": ["bigquery.transfers.get", "bigquery.transfers.update"],
        "dataset_update": ["bigquery.datasets.get", "bigquery.datasets.update"],
    }
    assert default("dts_dataset_update") is False


def test_who_is_granted_what():
    granted: set[tuple[str, str, str]] = set()
    for address, body in bare(blocks("resource")).items():
        member = body.get("member") or body.get("iam_member")
        if member:
            on = address.split(".")[0].removeprefix("google_").removesuffix("_iam_member")
            who = member.strip("${}").removeprefix("google_")
            granted.add((who, on, body["role"].strip("${}")))
    run, dts, reader = "service_account.run.member", "service_account.dts[0].member", "each.value"
    schedule = "service_account.schedule[0].member"
    custom = "google_project_iam_custom_role"
    assert granted == {
        (run, "storage_bucket", f"{custom}.objects.name"),
        (run, "storage_bucket", f"{custom}.list.name"),
        (run, "bigquery_dataset_access", "roles/bigquery.dataEditor"),
        (run, "project", "roles/bigquery.jobUser"),
        (run, "project", f"{custom}.transfers[0].name"),
        (run, "service_account", "roles/iam.serviceAccountUser"),
        (run, "project", "roles/cloudsql.client"),
        (run, "secret_manager_secret", "roles/secretmanager.secretAccessor"),
        (schedule, "cloud_run_v2_job", "roles/run.invoker"),
        (dts, "storage_bucket", "roles/storage.objectViewer"),
        (dts, "bigquery_dataset_access", "roles/bigquery.dataEditor"),
        (dts, "bigquery_dataset_access", f"{custom}.dataset_update[0].name"),
        (dts, "project", "roles/bigquery.jobUser"),
        (reader, "storage_bucket", "roles/storage.objectViewer"),
        (reader, "bigquery_dataset_access", "roles/bigquery.dataViewer"),
        (reader, "project", "roles/bigquery.jobUser"),
    }


def test_grants_on_objects_hold_below_the_prefix_and_listing_has_no_condition():
    objects = resource("google_storage_bucket_iam_member.run_objects")
    (condition,) = objects["condition"]
    assert condition["expression"].replace('\\"', '"') == (
        'resource.name.startsWith("projects/_/buckets/${local.bucket}/objects/'
        '${local.object_prefix}")'
    )
    assert "condition" not in resource("google_storage_bucket_iam_member.run_list")


def test_nothing_replaces_grants_that_others_made():
    kinds = {address.split(".")[0] for address in blocks("resource")}
    assert [kind for kind in kinds if kind.endswith(("_iam_policy", "_iam_binding"))] == []
    # It would remove the authorized views of a dataset.
    assert "google_bigquery_dataset_iam_member" not in kinds


def test_there_are_no_keys():
    kinds = {address.split(".")[0] for address in blocks("resource")}
    assert [kind for kind in kinds if kind.endswith("_key")] == []
    every = [parsed(path) for path in FILES]
    assert {key for key, _ in keys(every)} & {"credentials", "access_token", "private_key"} == set()


def test_a_transfer_exists_only_when_asked_for():
    made = {bare(kind) for block in parsed(FOLDER / "dts.tf")["resource"] for kind in block}
    assert "google_bigquery_data_transfer_config" in made
    for block in parsed(FOLDER / "dts.tf")["resource"]:
        for named in block.values():
            for name, body in named.items():
                assert body.get("count", "").startswith("${local.dts "), name
    assert local_value("dts") == '${var.load_via == "dts"}'
    assert default("load_via") == "job"


def test_the_transfer_runs_when_told_and_leaves_its_parameters_to_the_loader():
    transfer = resource("google_bigquery_data_transfer_config.batches")
    assert transfer["data_source_id"] == "google_cloud_storage"
    assert transfer["schedule_options"] == [{"disable_auto_scheduling": True}]
    assert "schedule" not in transfer
    assert transfer["params"]["file_format"] == "PARQUET"
    assert transfer["params"]["write_disposition"] == "MIRROR"
    assert set(transfer["params"]) == {
        "data_path_template",
        "destination_table_name_template",
        "file_format",
        "write_disposition",
    }
    assert transfer["lifecycle"] == [
        {
            "ignore_changes": [
                '${params["data_path_template"]}',
                '${params["destination_table_name_template"]}',
            ]
        }
    ]


def test_the_transfer_service_is_switched_on_only_when_asked_for():
    apis = resource("google_project_service.apis")
    always, optional = apis["for_each"].split("local.dts ?")
    assert "bigquerydatatransfer" not in always
    for service in ("storage", "bigquery"):
        assert f'"{service}.googleapis.com"' in always
    assert '["bigquerydatatransfer.googleapis.com"] : []' in optional
    assert apis["disable_on_destroy"] is False


def test_outputs_are_the_settings():
    outputs = {name: body["value"] for name, body in bare(blocks("output")).items()}
    assert outputs["POLYCOPY_STORE"] == "${local.store}"
    assert outputs["POLYCOPY_WAREHOUSE"] == "bigquery://${var.project}/${local.dataset}"
    assert '"gs://${local.bucket}/${var.prefix}"' in local_value("store")


@pytest.mark.parametrize("tool", ["terraform", "tofu"])
def test_the_files_are_formatted(tool: str):
    binary = shutil.which(tool)
    if binary is None:
        pytest.skip(f"no {tool} on PATH")
    found = subprocess.run(
        [binary, "fmt", "-check", "-diff", str(FOLDER)],
        env={**os.environ, "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
