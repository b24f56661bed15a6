"""Google's own descriptions of its APIs, as they come with google-api-python-client: no network."""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

_SIMPLE = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@cache
def _description(api: str) -> dict[str, Any]:
    documents = files("googleapiclient.discovery_cache") / "documents"
    return json.loads((documents / f"{api}.json").read_text())


def schemas(api: str) -> dict[str, Any]:
    """The types of an API, such as `run.v2`."""
    return _description(api)["schemas"]


def methods(api: str) -> Iterator[dict[str, Any]]:
    """Every call of an API."""
    yield from _methods(_description(api))


def _methods(of: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from of.get("methods", {}).values()
    for inner in of.get("resources", {}).values():
        yield from _methods(inner)


def faults(api: str, kind: str, tree: object) -> list[str]:
    """What in `tree` is not as the type `kind` of the API says: fields, types, words."""
    return _faults(schemas(api), {"$ref": kind}, tree, kind)


def _faults(types: dict[str, Any], wanted: dict[str, Any], tree: object, at: str) -> list[str]:
    if name := wanted.get("$ref"):
        wanted = types[name]
    kind: str = wanted.get("type", "any")
    if kind == "object" and isinstance(tree, dict):
        known = wanted.get("properties", {})
        others: dict[str, Any] | None = wanted.get("additionalProperties")
        found: list[str] = []
        for key, value in tree.items():
            expected = known.get(key) or others
            inner = f"{at}.{key}"
            if expected:
                found += _faults(types, expected, value, inner)
            else:
                found.append(f"{inner}: no such field")
        return found
    if kind == "array" and isinstance(tree, list):
        items = [_faults(types, wanted["items"], item, f"{at}[{n}]") for n, item in enumerate(tree)]
        return [fault for item in items for fault in item]
    if kind not in _SIMPLE or not isinstance(tree, _SIMPLE[kind]):
        return [f"{at}: {tree!r} is not of type {kind}"]
    if tree not in wanted.get("enum", [tree]):
        return [f"{at}: {tree!r} is none of {wanted['enum']}"]
    return []
