"""The commands as people type them: processes of their own, exit codes, one-line errors."""

import json
import re
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth

WALLET = "0xABCDEFabcdef0123456789abcdef0123456789ab"


def test_wallets_are_added_in_any_case_once_and_bad_ones_are_named(
    tmp_path: Path, deployment: Deployment
):
    (tmp_path / "list.txt").write_text(f"# wanted\n{WALLET.upper()}\n\n0x{'1' * 40}  # a friend\n")
    added = deployment.polycopy("wallets", "add", WALLET, "0x12", "-f", "list.txt")
    assert added.returncode == 2
    assert "refused: '0x12' is not a wallet" in added.stderr
    assert added.stdout.strip() == "2 added, 0 known already, 1 refused"
    again = deployment.polycopy("wallets", "add", WALLET)
    assert (again.returncode, again.stdout.strip()) == (0, "0 added, 1 known already, 0 refused")
    status = json.loads(deployment.polycopy("status", "--json").stdout)
    assert (
        status.items()
        >= {
            "total": 2,
            "complete": 0,
            "complete_without_trades": 0,
            "remaining": 2,
            "failed": 0,
            "trades": 0,
            "table_rows": 0,
        }.items()
    )


def test_a_list_as_people_have_it_is_read_and_what_is_no_wallet_is_named(
    tmp_path: Path, deployment: Deployment
):
    rows = [f"{n},https://polymarket.com/profile/0x{n:040x}?tab=x,name {n}" for n in range(1, 6)]
    text = "\r\n".join(["rank,profile,name", *rows, "6,0xabc,short"])
    (tmp_path / "list.csv").write_bytes(text.encode("utf-16"))
    profile = f"https://polymarket.com/@0x{7:040x}"
    added = deployment.polycopy("wallets", "add", "-f", "list.csv", profile)
    assert added.returncode == 2
    assert added.stdout.strip() == "6 added, 0 known already, 2 refused"
    assert added.stderr.splitlines() == [
        (
            "refused: 'rank,profile,name', line 1 of list.csv, holds no address"
            " (expected one: 0x and 40 hex digits)"
        ),
        (
            "refused: '6,0xabc,short', line 7 of list.csv, holds no address"
            " (expected one: 0x and 40 hex digits)"
        ),
        "list.csv: this looks like a CSV with 3 columns; the addresses seem to be in the 2nd",
    ]
    with deployment.instance() as instance:
        keys = set(instance.get_dynamic_partitions("wallets"))
    assert keys == {f"0x{n:040x}" for n in (1, 2, 3, 4, 5, 7)}
    (tmp_path / "list.xlsx").write_bytes(b"PK\x03\x04" + bytes(99))
    binary = deployment.polycopy("wallets", "add", "-f", "list.xlsx")
    assert (binary.returncode, binary.stdout) == (2, "")
    assert len(binary.stderr.splitlines()) == 1
    assert "list.xlsx is a ZIP archive or a spreadsheet" in binary.stderr
    (tmp_path / "empty.txt").write_text("# none yet\n")
    empty = deployment.polycopy("wallets", "add", "-f", "empty.txt")
    said = "polycopy: empty.txt holds no address: expected one on each line\n"
    assert (empty.returncode, empty.stdout, empty.stderr) == (2, "", said)


def test_wallets_that_are_complete_without_trades_are_counted_and_named(deployed: Deployed):
    world = generate(52, 2, most_trades=20)
    empty = [f"0x{n:040x}" for n in range(1, 13)]
    for wallet in empty:
        world.add_wallet(wallet)
    with deployed(world) as (deployment, served):
        deployment.want([*world.wallets(), "0x" + "9" * 40])
        served.state.faults.set_wallets({"0x" + "9" * 40: "400"})
        done = deployment.polycopy("backfill", "--json")
    assert json.loads(done.stdout)["complete_without_trades"] == 12
    shown = deployment.polycopy("status")
    assert "without trades      12" in shown.stdout
    assert (
        json.loads(deployment.polycopy("status", "--json").stdout).items()
        >= {
            "total": 15,
            "complete": 14,
            "complete_without_trades": 12,
            "remaining": 1,
            "failed": 1,
            "trades": sum(deployment.table().values()),
            "table_rows": sum(deployment.table().values()),
        }.items()
    )
    for said in (done.stderr, shown.stderr):
        lines = said.splitlines()
        (start,) = [n for n, line in enumerate(lines) if "complete without trades: 12" in line]
        assert "the address in the profile's URL" in lines[start]
        assert lines[start + 1 : start + 12] == [*(f"  {x}" for x in empty[:10]), "  and 2 more"]


def test_backfill_and_status_print_one_json_object_and_nothing_else(deployed: Deployed):
    world = generate(51, 6, whales=2, whale_trades=30)
    bad = world.wallets()[1]
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({bad: "400"})
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["wallets"], report["complete"], report["failed"]) == (6, 5, 1)
    assert report["remaining"] == 1
    assert report["trades_fetched"] == report["table_rows"]
    assert report["failures"][0]["wallet"] == bad.lower()
    status = json.loads(deployment.polycopy("status", "--json").stdout)
    assert (status["complete"], status["failed"], status["remaining"]) == (5, 1, 1)
    assert deployment.table() == truth(world, [w for w in world.wallets() if w != bad])


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"POLYCOPY_SOURCE": "kalshi"}, "POLYCOPY_SOURCE='kalshi'.*polymarket or dome"),
        ({"POLYCOPY_RATE_LIMIT": "fast"}, "POLYCOPY_RATE_LIMIT='fast'.*REQUESTS/SECONDS"),
        ({"POLYCOPY_RATE_LIMIT": "0/10"}, "POLYCOPY_RATE_LIMIT='0/10'"),
        ({"POLYCOPY_CONCURRENCY": "0"}, "POLYCOPY_CONCURRENCY='0'.*from 1 to 1000"),
        ({"POLYCOPY_SOURCE": "dome"}, "DOME_API_KEY"),
        ({"POLYCOPY_SOURCE_URL": "ftp://x"}, "POLYCOPY_SOURCE_URL='ftp://x'"),
        ({"POLYCOPY_STORE": "{file}/store"}, "POLYCOPY_STORE=.*Not a directory"),
        ({"POLYCOPY_WAREHOUSE": "{file}/t.duckdb"}, "POLYCOPY_WAREHOUSE="),
        ({"DAGSTER_HOME": "{file}/home"}, "DAGSTER_HOME="),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    tmp_path: Path, environ: dict[str, str], words: str
):
    file = tmp_path / "file"
    file.write_text("not a directory")
    wrong = {name: value.format(file=file) for name, value in environ.items()}
    done = Deployment(tmp_path, "http://127.0.0.1:9").polycopy("backfill", environ=wrong)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert re.search(words, done.stderr)


def test_the_api_key_is_nowhere_but_in_the_environment(tmp_path: Path, deployed: Deployed):
    secret = "sk-this-must-not-be-seen"
    world = generate(53, 3, whales=3, whale_trades=10)
    with deployed(world, POLYCOPY_SOURCE="dome", DOME_API_KEY=secret) as (deployment, served):
        deployment.want(world.wallets())
        refused = deployment.polycopy("backfill")
        served.state.dome_key = secret
        done = deployment.polycopy("backfill")
    assert refused.returncode == 1
    assert "DOME_API_KEY was not accepted" in refused.stderr
    assert done.returncode == 0
    assert deployment.table() == truth(world)
    output = refused.stdout + refused.stderr + done.stdout + done.stderr
    assert secret not in output
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_the_demo_runs_twice_and_fetches_once(deployment: Deployment):
    first = deployment.polycopy("demo")
    second = deployment.polycopy("demo")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Next: `polycopy dev` opens" in first.stdout
    assert "THEY DIFFER" not in first.stdout
    assert "Nothing to fetch: all 24 wallets are complete (" in second.stdout
    assert "0 requests for trades: nothing was fetched again" in second.stdout


def test_the_demo_says_so_when_its_data_holds_no_trades(tmp_path: Path):
    done = Deployment(tmp_path, "http://127.0.0.1:9").polycopy("demo", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "no *.jsonl file with Data API v2 rows" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_dagsters_own_command_shares_the_record(deployed: Deployed):
    world = generate(57, 6, whales=6, whale_trades=40)
    keys = [wallet.lower() for wallet in world.wallets()]
    module = ("-m", "polycopy_assets.definitions")
    with deployed(world) as (deployment, served):
        deployment.want(keys)
        fetch = ("asset", "materialize", *module, "--select", "wallet_trades")
        one = deployment.dagster(*fetch, "--partition", keys[0])
        assert one.returncode == 0, one.stderr
        unknown = deployment.dagster(*fetch, "--partition", "0x" + "7" * 40)
        assert unknown.returncode != 0
        assert "0x" + "7" * 40 in unknown.stderr
        some = deployment.dagster(*fetch, "--partition-range", f"{keys[1]}...{keys[4]}")
        assert some.returncode == 0, some.stderr
        load = deployment.dagster(
            "asset", "materialize", *module, "--select", "combined_trades,trades"
        )
        assert load.returncode == 0, load.stderr
        assert deployment.table() == truth(world, keys[:5])
        served.state.counts.reset()
        assert json.loads(deployment.polycopy("backfill", "--json").stdout)["complete"] == 6
        assert set(served.state.counts.requests) == {keys[5]}
    assert deployment.table() == truth(world)


def test_the_definitions_are_valid(deployment: Deployment):
    assert deployment.polycopy("init").returncode == 0
    done = deployment.dagster("definitions", "validate", "-m", "polycopy_assets.definitions")
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr


@pytest.mark.files
@pytest.mark.parametrize("command", [["backfill"], ["status"], ["reconcile", "--apply"]])
@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 100, b""])
def test_a_damaged_database_of_dagster_is_one_line(
    deployment: Deployment, command: list[str], content: bytes
):
    assert deployment.here("init")[0] == 0
    index = Path(deployment.settings.home) / "history" / "runs" / "index.db"
    index.write_bytes(content)
    done = deployment.polycopy(*command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("polycopy: Dagster's database in DAGSTER_HOME")
    assert str(deployment.settings.home) in told
    assert 'reconciliation.md, "Dagster\'s database is gone"' in told
