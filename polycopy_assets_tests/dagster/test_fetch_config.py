"""What a fetch can be told, and how a wrong word is refused."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from polycopy_assets.cli.runs import why_failed
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.record import attempts
from polycopy_assets_tests.deployment import Deployed, Deployment, backfill_job, truth
from polycopy_assets_tests.of_trades import record_in

RANGE = "dagster/asset_partition_range_"
LAST_SECOND = 1_700_000_000


def fetched(
    deployment: Deployment, instance: dg.DagsterInstance, tags: dict[str, str], **config: Any
) -> dg.ExecuteInProcessResult:
    """A run of the job `fetch`; with `tags` that choose partitions, one of a backfill."""
    whole = build(deployment.settings)
    job = backfill_job(deployment.settings) if tags else whole.resolve_job_def("fetch")
    return job.execute_in_process(
        instance=instance,
        run_config={"ops": {"wallet_trades": {"config": config}}},
        tags=tags,
        raise_on_error=False,
    )


def asked(served: Served) -> Counter[str]:
    found = Counter(served.state.counts.requests)
    served.state.counts.reset()
    return found


def test_a_selection_is_one_run_that_asks_for_exactly_what_was_chosen(deployed: Deployed):
    world = generate(41, 12, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    failing = wallets[1::5]
    with deployed(world, lag_seconds=0) as (deployment, served):
        deployment.want(wallets)
        served.state.faults.set_wallets(dict.fromkeys(failing, "404"))
        with deployment.instance() as instance:
            assert fetched(deployment, instance, {}, wallets=wallets[:2]).success is False
            assert asked(served) == Counter(wallets[:2])
            assert not fetched(deployment, instance, {}, select="remaining").success
            assert asked(served) == Counter(set(wallets) - {wallets[0]})
            assert sorted(attempts.failed(record_in(instance))) == sorted(failing)
            assert fetched(deployment, instance, {}, select="due").success, "none is due yet"
            assert asked(served) == Counter()
            served.state.faults.set_wallets({})
            assert fetched(deployment, instance, {}, select="failed", limit=1).success
            assert asked(served).total() == 1
            assert fetched(deployment, instance, {}, select="failed").success
            assert asked(served).total() == len(failing) - 1
            assert attempts.failed(record_in(instance)) == []
        deployment.backfill()
    assert deployment.table() == truth(world)


def test_a_range_can_leave_out_what_is_complete_and_records_it_all_the_same(deployed: Deployed):
    world = generate(42, 6, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, served):
        deployment.want(wallets)
        tags = {f"{RANGE}start": wallets[0], f"{RANGE}end": wallets[-1]}
        with deployment.instance() as instance:
            assert fetched(deployment, instance, {}, wallets=wallets[1:4]).success
            before = record_in(instance).versions()
            asked(served)
            result = fetched(deployment, instance, tags, select="remaining")
            assert result.success
            assert asked(served) == Counter([wallets[0], *wallets[4:]])
            kind = dg.DagsterEventType.ASSET_MATERIALIZATION
            recorded = [
                event.dagster_event.partition
                for event in instance.all_logs(result.run_id, of_type=kind)
                if event.dagster_event
            ]
            kept = [event for event in result.all_events if event.event_type == kind]
            assert not kept, "written events stay in memory"
            assert Counter(recorded) == Counter(wallets), "a backfill calls the others failed"
            assert record_in(instance).versions().items() >= before.items()
            refused = fetched(deployment, instance, tags, select="failed")
            assert not refused.success


@pytest.mark.parametrize(
    ("start", "end", "config", "said"),
    [
        (0, 2, {"wallets": True}, "`wallets` is for a run without partitions"),
        (0, 2, {"select": "refresh"}, "`select: refresh` and `limit` are for a run without"),
        (2, 0, {}, "the range of partitions ends before it begins"),
    ],
)
def test_what_makes_no_sense_for_a_range_is_refused(
    deployed: Deployed, start: int, end: int, config: dict[str, Any], said: str
):
    world = generate(45, 3, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, served):
        deployment.want(wallets)
        tags = {f"{RANGE}start": wallets[start], f"{RANGE}end": wallets[end]}
        if "wallets" in config:
            config = {"wallets": wallets[:1]}
        with deployment.instance() as instance:
            result = fetched(deployment, instance, tags, **config)
        assert not result.success
        assert said in why_failed(result)
        assert asked(served) == Counter()


def test_a_selection_that_matches_nothing_fetches_nothing_and_says_what_to_do(deployed: Deployed):
    world = generate(46, 3, most_trades=5)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        module = ("-m", "polycopy_assets.definitions")
        done = deployment.dagster("asset", "materialize", *module, "--select", "tag:nonsense")
        assert done.returncode != 0
        assert asked(served) == Counter()
        (line,) = {
            text for text in done.stderr.splitlines() if text.startswith("polycopy_assets.errors.")
        }
        assert "nothing was fetched: this run has no partition" in line
        assert "--partition 0x…" in line
        assert deployment.dagster("job", "execute", *module, "-j", "fetch").returncode == 0
        assert asked(served) == Counter([wallet.lower() for wallet in world.wallets()])
    deployment.backfill()
    assert deployment.table() == truth(world)


def test_a_refresh_goes_to_the_wallet_first_that_was_not_for_the_longest_time(deployed: Deployed):
    world = generate(43, 5, most_trades=10)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, lag_seconds=0, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        deployment.want(wallets)
        with deployment.instance() as instance:
            order = [wallets[3], wallets[0], wallets[4], wallets[1]]
            for lag, wallet in zip((4000, 3000, 2000, 1000), order, strict=True):
                served.state.lag_seconds = lag
                assert fetched(deployment, instance, {}, wallets=[wallet]).success
            served.state.lag_seconds = 0
            asked(served)
            assert fetched(deployment, instance, {}, select="all").success
            seen = list(dict.fromkeys(item.wallet for item in served.state.counts.log))
    assert seen == [wallets[2], *order], "without trades first, then longest ago"


@pytest.mark.parametrize(
    ("config", "accepted"),
    [
        ({"select": "everything"}, "remaining"),
        ({"mode": "fulll"}, "full"),
    ],
)
def test_a_wrong_word_is_refused_with_the_accepted_ones(
    deployment: Deployment, config: dict[str, str], accepted: str
):
    with (
        deployment.instance() as instance,
        pytest.raises(dg.DagsterInvalidConfigError) as refused,
    ):
        fetched(deployment, instance, {}, **config)
    assert accepted in str(refused.value)
    assert next(iter(config.values())) in str(refused.value)


@pytest.mark.parametrize(
    ("resource", "config", "named"),
    [
        ("source", {"rate_limit": "many"}, "REQUESTS/SECONDS"),
        ("source", {"concurrency": 0}, "concurrency"),
        ("source", {"kind": "dune"}, "polymarket"),
    ],
)
def test_a_wrong_setting_of_a_resource_is_refused_before_anything_is_asked(
    deployed: Deployed, resource: str, config: dict[str, Any], named: str
):
    world = generate(44, 1)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        whole = {
            "kind": "polymarket",
            "url": served.url,
            "rate_limit": "100/1",
            "concurrency": 2,
            **config,
        }
        with deployment.instance() as instance, pytest.raises(dg.DagsterError) as refused:
            build(deployment.settings).resolve_job_def("fetch").execute_in_process(
                instance=instance, run_config={"resources": {resource: {"config": whole}}}
            )
        assert served.state.counts.trade_requests == 0
    assert named in str(refused.value) + str(refused.value.__cause__)


def test_every_field_that_people_see_says_what_it_is(tmp_path: Path):
    definitions = build(Deployment(tmp_path, "http://127.0.0.1:9").settings)
    jobs = [definitions.resolve_job_def(name) for name in ("fetch", "load", "reconcile")]
    for job in jobs:
        for name, resource in job.resource_defs.items():
            fields = getattr(resource.config_schema.config_type, "fields", {})
            for key, field in fields.items():
                if name in {"source", "store", "warehouse", "policy"}:
                    assert field.description, f"{name}.{key} has no description"


def test_the_key_of_a_source_is_no_text_that_people_see(tmp_path: Path):
    deployment = Deployment(
        tmp_path, "http://127.0.0.1:9", POLYCOPY_SOURCE="dome", DOME_API_KEY="s3cret-key"
    )
    with deployment.instance() as instance:
        definitions = build(deployment.settings)
        job = definitions.resolve_job_def("fetch")
        assert "s3cret-key" not in repr(definitions.resources)
        schema = job.resource_defs["source"].config_schema
        assert "s3cret-key" not in repr(schema)
        assert "s3cret-key" not in repr(schema.default_value if schema.default_provided else "")
        del instance


def test_the_configuration_in_the_docs_is_accepted(tmp_path: Path):
    text = (Path(__file__).parents[2] / "docs" / "automation.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    definitions = build(Deployment(tmp_path, "http://127.0.0.1:9").settings)
    jobs = {
        "wallet_trades": "fetch",
        "source_counts": "witness",
        "leaderboard": "leaderboard_snapshot",
    }
    told = set()
    for block in blocks:
        config = yaml.safe_load(block.replace("# wallets", "wallets"))
        (op,) = config["ops"]
        told.add(op)
        assert dg.validate_run_config(definitions.resolve_job_def(jobs[op]), config)
    assert told == jobs.keys()


def test_a_refresh_that_is_started_again_leaves_out_what_was_refreshed_lately(deployed: Deployed):
    world = generate(47, 6, most_trades=10)
    wallets = [wallet.lower() for wallet in world.wallets()]
    lately, long_ago, new = wallets[:2], wallets[2:4], wallets[4:]
    with deployed(world) as (deployment, served):
        deployment.want(wallets)
        with deployment.instance() as instance:
            for lag, chosen in ((21 * 3600, long_ago), (0, lately)):
                served.state.lag_seconds = lag
                assert fetched(deployment, instance, {}, wallets=chosen).success
        asked(served)
        again = ("backfill", "--refresh", "--older-than", "20h")
        assert deployment.here(*again)[0] == 0
        assert asked(served) == Counter([*long_ago, *new])
        assert deployment.here(*again)[0] == 0
        assert asked(served) == Counter()
        assert deployment.here("backfill", "--refresh")[0] == 0
        assert asked(served) == Counter(wallets)
    assert deployment.table() == truth(world)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--older-than", "20h"),
            "--older-than needs --refresh: without it, complete wallets are not fetched",
        ),
        (("--for", "50"), "'50' is not a duration such as 50m"),
        (("--for", "0m"), "'0m' is not a duration"),
        (("--for", "-5m"), "'-5m' is not a duration"),
        (("--refresh", "--older-than", "400d"), "'400d' is not a duration"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused_in_one_line(
    deployment: Deployment, options: tuple[str, ...], said: str
):
    assert deployment.here("init")[0] == 0
    done = deployment.polycopy("backfill", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
