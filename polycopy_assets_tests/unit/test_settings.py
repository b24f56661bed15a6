"""Settings: defaults, and what a wrong value says."""

import re
from pathlib import Path

import pytest

from polycopy_assets import settings
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.feeds.activity.shapes import TYPES
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.settings import feeds, read_settings
from polycopy_assets.settings.names import NAMES
from polycopy_assets.settings.parse import parse_bucket, parse_dataset, parse_rate_limit
from polycopy_assets.trades import cutter, horizon


def test_the_defaults_are_those_of_the_documents():
    found = read_settings({})
    assert (found.source, found.source_url) == ("polymarket", "https://data-api.polymarket.com")
    assert (found.rate_limit, found.concurrency) == ("200/10", 16)
    assert (found.store, found.warehouse) == (".polycopy/store", ".polycopy/warehouse.duckdb")
    assert found.home.endswith("/.polycopy/dagster")


def test_settings_and_core_which_do_not_know_each_other_have_the_same_defaults():
    found = read_settings({})
    assert found.segment_bytes == cutter.SEGMENT_BYTES
    assert found.max_lag == horizon.DEFAULT_MAX_LAG
    assert tuple(each.value for each in Adopt) == settings.ADOPT
    assert [(name, sorted(sources)) for name, sources in feeds.KNOWN.items()] == [
        (name, sorted(feed.endpoints)) for name, feed in FEEDS.items()
    ]


def test_dome_has_a_base_of_its_own_and_its_key_stays_out_of_the_settings():
    found = read_settings({"POLYCOPY_SOURCE": "dome", "DOME_API_KEY": "sk-secret"})
    assert found.source_url == "https://api.domeapi.io/v1"
    assert "sk-secret" not in repr(found)


def test_where_the_record_is_kept_by_default_may_be_written_out():
    assert read_settings({"POLYCOPY_INSTANCE": "sqlite"}) == read_settings({})


def test_a_trailing_slash_of_the_base_does_not_matter():
    assert read_settings({"POLYCOPY_SOURCE_URL": "http://h:1/v/"}).source_url == "http://h:1/v"


def test_several_windows_hold_at_once():
    assert parse_rate_limit("100/1,500/10") == ((100, 1.0), (500, 10.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLYCOPY_SOURCE", "Polymarket"),
        ("POLYCOPY_SOURCE_URL", "data-api.polymarket.com"),
        ("POLYCOPY_RATE_LIMIT", "200"),
        ("POLYCOPY_RATE_LIMIT", "200/0"),
        ("POLYCOPY_RATE_LIMIT", "200/10,"),
        ("POLYCOPY_RATE_LIMIT", "-1/10"),
        ("POLYCOPY_CONCURRENCY", "1.5"),
        ("POLYCOPY_CONCURRENCY", "many"),
        ("POLYCOPY_TIMEOUT", "0"),
        ("POLYCOPY_TIMEOUT", "nan"),
        ("POLYCOPY_SEGMENT_BYTES", "99999999"),
        ("POLYCOPY_MEMORY", "383"),
        ("POLYCOPY_MEMORY", "512MB"),
        ("POLYCOPY_MEMORY", "1000001"),
        ("POLYCOPY_STORE", "s3://bucket"),
        ("POLYCOPY_STORE", "gs://"),
        ("POLYCOPY_STORE", "gs://bucket/../other"),
        ("POLYCOPY_STORE", "gs://bucket//x"),
        ("POLYCOPY_WAREHOUSE", "bigquery://project"),
        ("POLYCOPY_WAREHOUSE", "bigquery://project/data`set"),
        ("POLYCOPY_MAX_BYTES_BILLED", "10GB"),
        ("POLYCOPY_MAX_BYTES_BILLED", "1"),
        ("POLYCOPY_LOAD_VIA", "DTS"),
        ("POLYCOPY_DTS_CONFIG", "abc"),
        ("BIGQUERY_EMULATOR_HOST", "http://"),
        ("POLYCOPY_WAREHOUSE", "postgres://db"),
        ("POLYCOPY_WAREHOUSE", "why?/w.duckdb"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_variable_value_and_what_is_accepted(
    name: str, value: str
):
    with pytest.raises(ConfigurationError) as error:
        read_settings({name: value})
    message = str(error.value)
    assert message.startswith(f"{name}={value!r} is not accepted: expected ")
    assert "\n" not in message


def test_the_feeds_are_named_in_any_order_and_trades_are_always_among_them():
    assert read_settings({}).feeds == ("trades",)
    both = read_settings({"POLYCOPY_FEEDS": "activity, trades"})
    assert both.feeds == ("trades", "activity")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trades,activty", "'activty' is no feed, did you mean activity?"),
        ("trades,", "'' is no feed; the feeds are trades, activity and tips, separated by commas"),
        ("positions", "'positions' is no feed"),
        ("activity", "expected trades and what is collected beside it"),
        ("trades,trades", "expected each feed once"),
    ],
)
def test_feeds_that_there_are_not_are_refused_in_one_line(text: str, said: str):
    with pytest.raises(ConfigurationError) as refused:
        read_settings({"POLYCOPY_FEEDS": text})
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"POLYCOPY_FEEDS={text!r} is not accepted: ")
    assert "\n" not in str(refused.value)


def test_types_of_activity_are_left_out_in_any_order():
    assert read_settings({}).activity_without == ()
    found = read_settings({feeds.WITHOUT: "WITHDRAWAL, DEPOSIT"})
    assert found.activity_without == ("DEPOSIT", "WITHDRAWAL")
    assert set(feeds.MAY_BE_LEFT_OUT) < TYPES


@pytest.mark.parametrize("text", ["TRADE", "REDEEM", "deposit", "DEPOSIT,", "DEPOSIT,DEPOSIT"])
def test_what_moves_shares_or_is_no_type_cannot_be_left_out(text: str):
    with pytest.raises(ConfigurationError) as refused:
        read_settings({feeds.WITHOUT: text})
    assert str(refused.value).startswith(f"{feeds.WITHOUT}={text!r} is not accepted: ")


def test_a_feed_that_the_source_does_not_serve_is_refused():
    with pytest.raises(ConfigurationError, match="a feed that POLYCOPY_SOURCE='dome' serves"):
        read_settings(
            {"POLYCOPY_FEEDS": "trades,activity", "POLYCOPY_SOURCE": "dome", "DOME_API_KEY": "k"}
        )


def test_a_bucket_and_a_dataset_are_taken_apart():
    assert parse_bucket("gs://my-bucket") == ("my-bucket", "")
    assert parse_bucket("gs://my-bucket/a/b/") == ("my-bucket", "a/b")
    assert parse_bucket("/a/directory") is None
    assert parse_dataset("bigquery://my-project/my_set") == ("my-project", "my_set")
    assert parse_dataset("bigquery://example.com:my-project/my_set") == (
        "example.com:my-project",
        "my_set",
    )
    assert parse_dataset("w.duckdb") is None


GOOGLE = {"POLYCOPY_STORE": "gs://b-b-b/p", "POLYCOPY_WAREHOUSE": "bigquery://proj/d"}


def test_the_settings_of_google_cloud_are_read():
    found = read_settings(
        {**GOOGLE, "POLYCOPY_MAX_BYTES_BILLED": "123456789012", "BIGQUERY_EMULATOR_HOST": "h:1"}
    )
    assert (found.max_bytes_billed, found.load_via) == (123_456_789_012, "job")
    assert found.bigquery_emulator == "http://h:1"
    config = "projects/p/locations/eu/transferConfigs/1-a"
    found = read_settings({**GOOGLE, "POLYCOPY_LOAD_VIA": "dts", "POLYCOPY_DTS_CONFIG": config})
    assert (found.load_via, found.dts_config) == ("dts", config)


def test_bigquery_without_a_bucket_is_refused_with_the_reason():
    with pytest.raises(ConfigurationError, match=r"POLYCOPY_STORE.*because BigQuery loads"):
        read_settings({"POLYCOPY_WAREHOUSE": "bigquery://proj/d"})


def test_transfers_without_a_config_are_refused():
    with pytest.raises(ConfigurationError, match=r"POLYCOPY_DTS_CONFIG=''.*POLYCOPY_LOAD_VIA=dts"):
        read_settings({**GOOGLE, "POLYCOPY_LOAD_VIA": "dts"})


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("POLYCOPY_SOURCE_URL", "https://host?key=secret", "'https://host?…'"),
        ("POLYCOPY_SOURCE_URL", "me:secret@host", "'…'"),
        ("POLYCOPY_WAREHOUSE", "postgres://me:secret@db/x", "'postgres://…'"),
        ("POLYCOPY_STORE", "s3://me:secret@bucket", "'s3://…'"),
        ("BIGQUERY_EMULATOR_HOST", "http://me:secret@", "'http://…'"),
    ],
)
def test_what_may_be_a_password_in_an_address_is_not_shown(name: str, value: str, shown: str):
    with pytest.raises(ConfigurationError, match=f"^{name}=") as error:
        read_settings({name: value})
    assert shown in str(error.value)
    assert "secret" not in str(error.value)


CLOUD_SQL = "postgresql://polycopy:a1b2@/polycopy?host=/cloudsql/my-project:us-central1:record"


def test_what_is_wrong_with_the_url_of_a_database_is_named_and_the_url_is_not():
    assert read_settings({"POLYCOPY_INSTANCE": CLOUD_SQL}).instance == "postgres"
    ends = [
        (f"{CLOUD_SQL}\n", "stored with a line's end?"),
        (f" {CLOUD_SQL}", "stored with a line's end?"),
        (CLOUD_SQL.replace("postgresql", "postgres"), "write postgresql://"),
        ("Ephemeral", "% is %25)"),
    ]
    for value, end in ends:
        with pytest.raises(ConfigurationError, match=r"^POLYCOPY_INSTANCE is not") as error:
            read_settings({"POLYCOPY_INSTANCE": value})
        assert str(error.value).endswith(end)
        assert "a1b2" not in str(error.value)


def test_a_user_or_a_password_in_the_sources_url_is_refused():
    for url in ("https://me:secret@host/v2", "http://secret@host"):
        with pytest.raises(ConfigurationError, match=r"^POLYCOPY_SOURCE_URL") as error:
            read_settings({"POLYCOPY_SOURCE_URL": url})
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("POLYCOPY_WAREHOSE", "POLYCOPY_WAREHOUSE"),
        ("POLYCOPY_RATELIMIT", "POLYCOPY_RATE_LIMIT"),
        ("polycopy_store", "POLYCOPY_STORE"),
        ("POLYCOPY_SOURCEURL", "POLYCOPY_SOURCE_URL"),
    ],
)
def test_an_unknown_variable_stops_the_start_and_the_nearest_known_one_is_named(
    name: str, nearest: str
):
    with pytest.raises(ConfigurationError, match=f"^{name} is not a setting.*{nearest}") as error:
        read_settings({name: "secret"})
    assert "secret" not in str(error.value)


def test_variables_of_the_tests_and_of_kubernetes_stop_nothing():
    names = [
        "POLYCOPY_TEST_PROJECT",
        "POLYCOPY_PORT",
        "POLYCOPY_PORT_3000_TCP_ADDR",
        "POLYCOPY_SERVICE_HOST",
        "POLYCOPY_WEB_SERVICE_PORT_HTTP",
        "POLYCOPY_WEB_PORT_80_TCP",
    ]
    read_settings(dict.fromkeys(names, "x"))


def test_the_documents_list_the_settings_that_there_are():
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    table = page.split("## Settings")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]
    standard = {
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    }
    assert sorted(set(documented) - standard) == sorted(NAMES)
