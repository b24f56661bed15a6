"""Settings: defaults, and what a wrong value says."""

import pytest

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import (
    parse_bucket,
    parse_dataset,
    parse_rate_limit,
    read_settings,
)


def test_the_defaults_are_those_of_the_documents():
    found = read_settings({})
    assert (found.source, found.source_url) == ("polymarket", "https://data-api.polymarket.com")
    assert (found.rate_limit, found.concurrency) == ("200/10", 16)
    assert (found.store, found.warehouse) == (".polycopy/store", ".polycopy/warehouse.duckdb")
    assert found.home.endswith("/.polycopy/dagster")


def test_dome_has_a_base_of_its_own_and_its_key_stays_out_of_the_settings():
    found = read_settings({"POLYCOPY_SOURCE": "dome", "DOME_API_KEY": "sk-secret"})
    assert found.source_url == "https://api.domeapi.io/v1"
    assert "sk-secret" not in repr(found)


def test_a_trailing_slash_of_the_base_does_not_matter():
    assert read_settings({"POLYCOPY_SOURCE_URL": "http://h:1/v/"}).source_url == "http://h:1/v"


def test_several_windows_hold_at_once():
    assert parse_rate_limit("100/1,500/10") == ((100, 1.0), (500, 10.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLYCOPY_SOURCE", "Polymarket"),
        ("POLYCOPY_SOURCE_URL", "data-api.polymarket.com"),
        ("POLYCOPY_SOURCE_URL", "https://host?x=1"),
        ("POLYCOPY_RATE_LIMIT", "200"),
        ("POLYCOPY_RATE_LIMIT", "200/0"),
        ("POLYCOPY_RATE_LIMIT", "200/10,"),
        ("POLYCOPY_RATE_LIMIT", "-1/10"),
        ("POLYCOPY_CONCURRENCY", "1.5"),
        ("POLYCOPY_CONCURRENCY", "many"),
        ("POLYCOPY_TIMEOUT", "0"),
        ("POLYCOPY_TIMEOUT", "nan"),
        ("POLYCOPY_SEGMENT_BYTES", "99999999"),
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
    ],
)
def test_a_wrong_value_is_one_line_that_names_variable_value_and_what_is_accepted(
    name: str, value: str
):
    with pytest.raises(ConfigurationError) as error:
        read_settings({name: value})
    message = str(error.value)
    assert message.startswith(f"{name}={value!r} is not accepted: accepted is ")
    assert "\n" not in message


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
