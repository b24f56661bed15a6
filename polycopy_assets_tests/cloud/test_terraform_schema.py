"""deploy/terraform against what Terraform's Google provider takes; `terraform validate` needs it.

The provider comes from Terraform's registry alone. `data/provider.json` is its schema, of the
resources that are declared here.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from polycopy_assets_tests.cloud.test_terraform import bare, blocks
from polycopy_assets_tests.data.make_provider_schema import FILE
from polycopy_assets_tests.google_apis import methods, schemas

OF_TERRAFORM = {"count", "for_each", "depends_on", "lifecycle", "provider"}
PROVIDER: dict[str, Any] = json.loads(FILE.read_text())
TYPES = {"string": str, "number": (int, float), "boolean": bool, "array": list, "map": dict}


def faults(schema: dict[str, Any], body: dict[str, Any], at: str) -> Iterator[str]:
    """What the provider would refuse: names, missing arguments, blocks, types of literals."""
    body = _without_dynamic(body)
    for name, known in schema.items():
        if known.get("required") and name not in body:
            yield f"{at}: {name} is missing"
    for name, value in body.items():
        if name not in schema:
            yield f"{at}.{name}: no such argument or block"
        elif "block" in schema[name]:
            yield from _in_block(schema[name]["block"], value, f"{at}.{name}")
        elif not _fits(schema[name]["type"], value):
            yield f"{at}.{name}: {value!r} is not of type {schema[name]['type']}"


def _without_dynamic(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the blocks that it makes in a loop, once each."""
    plain = {name: value for name, value in body.items() if name != "dynamic"}
    for each in body.get("dynamic", []):
        for name, made in each.items():
            plain[name] = [*plain.get(name, []), *made["content"]]
    return plain


def _in_block(schema: dict[str, Any], blocks: object, at: str) -> Iterator[str]:
    if not isinstance(blocks, list) or not all(isinstance(each, dict) for each in blocks):
        yield f"{at}: a block, written as an argument"
        return
    for each in blocks:
        yield from faults(schema, each, at)


def _fits(kind: str, value: object) -> bool:
    if kind == "any" or (isinstance(value, str) and "${" in value):
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind])


def declared() -> dict[str, Any]:
    """Every resource and data source by kind and address, without what is Terraform's own."""
    return {
        f"{kind} {address}": {k: v for k, v in body.items() if k not in OF_TERRAFORM}
        for kind in ("resource", "data")
        for address, body in bare(blocks(kind)).items()
    }


def all_faults(bodies: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for where, body in bodies.items():
        kind, address = where.split()
        found += faults(PROVIDER[kind][address.split(".")[0]], body, address)
    return found


def test_every_resource_has_only_what_the_provider_takes():
    assert len(declared()) > 35
    assert all_faults(declared()) == []


@pytest.mark.parametrize(
    ("where", "path", "value", "said"),
    [
        ("resource google_sql_database_instance.record", ("settings", 0, "size"), 1, "no such"),
        ("resource google_storage_bucket.store", ("location",), None, "location is missing"),
        ("resource google_cloud_scheduler_job.nightly", ("http_target",), {}, "a block"),
        (
            "resource google_bigquery_data_transfer_config.batches",
            ("schedule_options", 0, "disable_auto_scheduling"),
            "yes",
            "not of type boolean",
        ),
    ],
)
def test_a_mistake_is_found(where: str, path: tuple[Any, ...], value: object, said: str):
    wrong = copy.deepcopy(declared())
    inner = wrong[where]
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    (fault,) = all_faults(wrong)
    assert said in fault


def test_the_transfer_is_one_that_its_api_knows():
    transfer = declared()["resource google_bigquery_data_transfer_config.batches"]
    known = schemas("bigquerydatatransfer.v1")
    fields = {_camel(name) for name in transfer} - {"project", "location", "serviceAccountName"}
    assert fields <= known["TransferConfig"]["properties"].keys()
    (options,) = transfer["schedule_options"]
    assert {_camel(name) for name in options} <= known["ScheduleOptions"]["properties"].keys()


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)


def test_the_schedule_starts_the_job_by_a_call_that_the_api_has():
    (target,) = declared()["resource google_cloud_scheduler_job.nightly"]["http_target"]
    path = re.sub(r"\$\{[^}]*\}", "{}", target["uri"]).removeprefix("https://run.googleapis.com/")
    (method,) = (
        each
        for each in methods("run.v2")
        if re.sub(r"\{[^}]*\}", "{}", each["flatPath"]) == path
        and each["httpMethod"] == target["http_method"]
    )
    (token,) = target["oauth_token"]
    assert token["scope"] in method["scopes"]
