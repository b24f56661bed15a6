"""Makes `provider.json`: what Terraform's Google provider takes, of the resources that we declare.

    npm pack @cdktf/provider-google && tar xzf cdktf-provider-google-*.tgz
    python -m polycopy_assets_tests.data.make_provider_schema package

The package describes every resource as the provider's own schema does, and names the version of the
provider. Written is, by name: `required`, and `type` of an argument, or `block` with what is in it.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "provider.json"
_PREFIX = "@cdktf/provider-google."
_OF_TERRAFORM = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider"}
_OF_TERRAFORM |= {"provisioners", "id"}


def schema(types: dict[str, Any], name: str) -> dict[str, Any]:
    """The arguments and blocks of a type of the package."""
    return {
        argument: {**_kind(types, each["type"]), **({} if each.get("optional") else _REQUIRED)}
        for each in types[name].get("properties", [])
        for argument in [_argument(each)]
        if not (name.endswith("Config") and argument in _OF_TERRAFORM)
    }


_REQUIRED = {"required": True}


def _argument(each: dict[str, Any]) -> str:
    documented = re.search(r"#\w+ \w+#(\w+)\}", each.get("docs", {}).get("remarks", ""))
    return documented[1] if documented else re.sub(r"([A-Z])", r"_\1", each["name"]).lower()


def _kind(types: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    if "union" in kind:
        kinds = (_kind(types, each) for each in kind["union"]["types"])
        return next(each for each in kinds if each != {"type": "any"})
    if "collection" in kind:
        inner = _kind(types, kind["collection"]["elementtype"])
        return inner if "block" in inner else {"type": kind["collection"]["kind"]}
    name = kind.get("fqn", "")
    if name.startswith(_PREFIX):
        return {"block": schema(types, name)}
    if name.endswith("IResolvable"):
        return {"type": "any"}
    return {"type": kind.get("primitive", "any")}


def _configuration(types: dict[str, Any], resource: str, before: str) -> str:
    words = "".join(resource.removeprefix("google_").split("_"))
    wanted = {f"{before}{words}{last}config" for last in ("", "a")}
    (found,) = (name for name in types if name.rpartition(".")[2].lower() in wanted)
    return found


def made(package: Path, declared: dict[str, list[str]]) -> dict[str, Any]:
    """What the file holds; `declared` names the resources and the data sources."""
    whole = json.loads((package / ".jsii").read_text())
    return {
        "version": next(_versions(package)),
        **{
            kind: {
                name: schema(
                    whole["types"],
                    _configuration(whole["types"], name, "datagoogle" if kind == "data" else ""),
                )
                for name in sorted(names)
            }
            for kind, names in declared.items()
        },
    }


def _versions(package: Path) -> Iterator[str]:
    found = re.search(r"providers/hashicorp/google/([\d.]+)/docs", (package / ".jsii").read_text())
    if found:
        yield found[1]


if __name__ == "__main__":
    from polycopy_assets_tests.cloud.test_terraform import blocks

    wanted = {
        kind: sorted({address.split(".")[0] for address in blocks(kind)})
        for kind in ("resource", "data")
    }
    FILE.write_text(json.dumps(made(Path(sys.argv[1]), wanted), separators=(",", ":")) + "\n")
