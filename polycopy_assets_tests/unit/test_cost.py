"""The costs in the docs are what the command adds up, from the bytes that a query really bills."""

from benchmarks.cost import CASES, KEY, PRICES, SOURCE, TIME, Case, a_year, machines, once, table
from benchmarks.processes import ROOT

DOCUMENT = (ROOT / "docs" / "google-cloud.md").read_text()


def test_the_document_has_what_the_command_prints():
    assert table(CASES, PRICES["multi"]) in DOCUMENT


def test_the_page_on_deployment_has_what_the_command_prints():
    page = (ROOT / "docs" / "deployment.md").read_text()
    assert machines() in page
    for case, dollars in zip(CASES[:2], ("3.77", "33.97"), strict=True):
        assert f"{sum(value for _, value in a_year(case, PRICES['multi'])) / 12:.2f}" == dollars
        assert dollars in page


def test_the_prices_are_those_of_the_document():
    prices = PRICES["multi"]
    for text in (
        f"{prices.bucket} per GiB per month",
        f"{prices.create * 1000} per 1,000",
        f"{prices.read * 1000:.4f} per 1,000",
        f"{prices.query_tib} per TiB",
        f"{prices.table} per GiB per month",
        f"{prices.unchanged} per GiB per month",
        f"{prices.replication} per GiB",
    ):
        assert text in DOCUMENT, text


def test_more_trades_and_more_wallets_cost_more_and_every_sum_is_counted():
    small, large = Case(10**8, 3_000, 50_000), Case(10**9, 100_000, 500_000)
    for sums in (once, a_year):
        for (what, less), (_, more) in zip(
            sums(small, PRICES["region"]), sums(large, PRICES["region"]), strict=True
        ):
            assert more >= less >= 0, what
        printed = table([small], PRICES["region"])
        for what, value in sums(small, PRICES["region"]):
            assert f"{what} | {value:,.2f} |" in printed


def test_a_row_to_delete_is_looked_for_by_a_wallet_and_a_time():
    expected = 2 + 42, 8, 2 + len("polymarket")
    assert expected == (KEY, TIME, SOURCE)
