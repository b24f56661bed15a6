"""The questions in `examples/`, asked of the demo's table; the answers are worked out here."""

import datetime as dt
import json
import os
import re
from ast import Expr, Expression, Module, parse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import duckdb
import msgspec
import pytest

from polycopy_assets.demo.world import Trade
from polycopy_assets.feeds.trades.columns import TRADES, VIEWS
from polycopy_assets_tests.dagster.test_readme import commands
from polycopy_assets_tests.unit.conftest import DemoTable

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = EXAMPLES.parent / "docs" / "analysis.md"
QUESTIONS = sorted(file.stem for file in EXAMPLES.glob("*.sql"))
Rows = list[dict[str, Any]]


def usdc(trades: Iterable[Trade], side: str = "") -> float:
    return sum(t.price * t.size for t in trades if side in {"", t.side})


def signed(trade: Trade) -> float:
    return trade.size if trade.side == "BUY" else -trade.size


def by(trades: Iterable[Trade], key: Callable[[Trade], Any]) -> dict[Any, list[Trade]]:
    found: defaultdict[Any, list[Trade]] = defaultdict(list)
    for trade in trades:
        found[key(trade)].append(trade)
    return found


def time(second: int) -> str:
    return f"{dt.datetime.fromtimestamp(second, dt.UTC):%FT%TZ}"


def top_wallets_by_volume(trades: list[Trade]) -> Rows:
    wallets = by(trades, lambda t: t.wallet)
    return [
        {
            "wallet_address": wallet,
            "trades": len(own),
            "markets": len({t.condition_id for t in own}),
            "volume_usdc": round(usdc(own), 2),
        }
        for wallet, own in sorted(wallets.items(), key=lambda item: -usdc(item[1]))[:10]
    ]


def trades_a_day(trades: list[Trade]) -> Rows:
    return [
        {
            "day": day,
            "trades": len(own),
            "wallets": len({t.wallet for t in own}),
            "volume_usdc": round(usdc(own), 2),
        }
        for day, own in sorted(by(trades, lambda t: time(t.timestamp)[:10]).items())
    ]


def one_wallet_in_one_market(trades: list[Trade]) -> Rows:
    pairs = by(trades, lambda t: (t.wallet, t.condition_id))
    _, own = min(pairs.items(), key=lambda item: (-len(item[1]), item[0]))
    so_far: defaultdict[str, float] = defaultdict(float)
    found = []
    for t in sorted(own, key=lambda t: t.position):
        so_far[t.token_id] += signed(t)
        row = {"timestamp": time(t.timestamp), "side": t.side, "token_label": t.outcome}
        found.append(
            {
                **row,
                "price": t.price,
                "shares_normalized": t.size,
                "shares_so_far": so_far[t.token_id],
            }
        )
    return found


def net_cash_by_market(trades: list[Trade]) -> Rows:
    found = [
        {
            "market_slug": slug,
            "trades": len(own),
            "bought_usdc": round(usdc(own, "BUY"), 2),
            "sold_usdc": round(usdc(own, "SELL"), 2),
            "net_cash_usdc": round(usdc(own, "SELL") - usdc(own, "BUY"), 2),
        }
        for slug, own in by(trades, lambda t: t.slug).items()
    ]
    return sorted(found, key=lambda row: row["net_cash_usdc"])[:10]


def who_bought_before_whom(trades: list[Trade]) -> Rows:
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for t in trades:
        if t.side == "BUY":
            of = first[t.token_id]
            of[t.wallet] = min(t.timestamp, of.get(t.wallet, t.timestamp))
    pairs = Counter(
        (earlier, later)
        for of in first.values()
        for earlier, at in of.items()
        for later, then in of.items()
        if at < then
    )
    best = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:20]
    return [{"earlier": a, "later": b, "outcomes": count} for (a, b), count in best]


def twins(trades: list[Trade]) -> Rows:
    names = ("wallet_address", "tx_hash", "token_id", "side", "price", "shares_normalized")
    same = Counter((t.wallet, t.tx_hash, t.token_id, t.side, t.price, t.size) for t in trades)
    best = sorted(same.items(), key=lambda item: (-item[1], *item[0][1:]))[:20]
    assert best[-1][1] > 1
    return [{**dict(zip(names, key, strict=True)), "fills": count} for key, count in best]


def largest_trades(trades: list[Trade]) -> Rows:
    return [
        {
            "timestamp": time(t.timestamp),
            "wallet_address": t.wallet,
            "side": t.side,
            "price": t.price,
            "shares_normalized": t.size,
            "notional_usdc": t.price * t.size,
            "title": t.title,
        }
        for t in sorted(trades, key=lambda t: (-t.price * t.size, t.wallet))[:10]
    ]


def markets_by_wallets(trades: list[Trade]) -> Rows:
    found = [
        {
            "market_slug": slug,
            "title": own[0].title,
            "wallets": len({t.wallet for t in own}),
            "trades": len(own),
            "first_trade": time(min(t.timestamp for t in own)),
            "last_trade": time(max(t.timestamp for t in own)),
        }
        for slug, own in by(trades, lambda t: t.slug).items()
    ]
    return sorted(found, key=lambda r: (-r["wallets"], -r["trades"], r["market_slug"]))[:10]


def average_prices(trades: list[Trade]) -> Rows:
    def average(own: list[Trade], side: str) -> float | None:
        of = [t for t in own if t.side == side]
        return usdc(of) / sum(t.size for t in of) if of else None

    return [
        {
            "market_slug": slug,
            "token_label": label,
            "bought_at": average(own, "BUY"),
            "sold_at": average(own, "SELL"),
        }
        for (slug, label), own in sorted(by(trades, lambda t: (t.slug, t.outcome)).items())
    ]


def shares_by_trades(trades: list[Trade]) -> Rows:
    found = [
        {
            "wallet_address": wallet,
            "market_slug": slug,
            "token_label": label,
            "shares": round(sum(map(signed, own)), 6),
        }
        for (wallet, slug, label), own in by(
            trades, lambda t: (t.wallet, t.slug, t.outcome)
        ).items()
    ]
    return sorted(found, key=lambda row: -row["shares"])[:20]


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_is_the_one_that_the_trades_give(question: str, demo: DemoTable):
    expected: Rows = globals()[question](demo.trades)
    file = EXAMPLES / f"{question}.sql"
    code, out = demo.deployment.here("query", "-f", str(file), "--json")
    answer: Rows = json.loads(out)
    assert code == 0
    assert len(answer) == len(expected) > 0
    for row, wanted in zip(answer, expected, strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            if isinstance(value, float):
                # A rounded sum may differ in its last digit: floats are added in another order.
                off = 0.011 if name.endswith("_usdc") else 1e-5
                value = pytest.approx(value, rel=1e-9, abs=off)  # noqa: PLW2901
            assert row[name] == value, (name, row)


def test_there_are_ten_questions_and_the_page_names_each():
    page = PAGE.read_text()
    assert len(QUESTIONS) == 10
    assert [name for name in QUESTIONS if f"../examples/{name}.sql" not in page] == []


# -- the notebook: https://github.com/jupyter/nbformat, schema of format 4.5 ---------------------


class _Markdown(msgspec.Struct, forbid_unknown_fields=True, tag_field="cell_type", tag="markdown"):
    id: str
    metadata: dict[str, Any]
    source: list[str]


class _Code(msgspec.Struct, forbid_unknown_fields=True, tag_field="cell_type", tag="code"):
    id: str
    metadata: dict[str, Any]
    source: list[str]
    outputs: list[Any]
    execution_count: int | None


class _Kernel(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    display_name: str
    language: str


class _Language(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    kernelspec: _Kernel
    language_info: _Language


class _Notebook(msgspec.Struct, forbid_unknown_fields=True):
    cells: list[_Markdown | _Code]
    metadata: _Metadata
    nbformat: Literal[4]
    nbformat_minor: Literal[5]


def shown(cell: str, names: dict[str, Any]) -> Iterator[str]:
    """Runs a cell, and yields what a notebook would show below it."""
    body = parse(cell).body
    last = body.pop() if body and isinstance(body[-1], Expr) else None
    exec(compile(Module(body, []), "cell", "exec"), names)
    if isinstance(last, Expr):
        value = eval(compile(Expression(last.value), "cell", "eval"), names)
        if value is not None:
            yield str(value)


def test_the_notebook_is_valid_and_its_cells_run_on_the_demos_table(demo: DemoTable):
    notebook = msgspec.json.decode(
        (EXAMPLES / "explore_the_demo.ipynb").read_bytes(), type=_Notebook
    )
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(each) <= 64 and each.replace("-", "").isalnum() for each in ids)
    code = [cell for cell in notebook.cells if isinstance(cell, _Code)]
    assert not any(cell.outputs or cell.execution_count for cell in code), "no outputs are kept"
    names: dict[str, Any] = {}
    with patch.dict(os.environ, demo.deployment.environ):
        texts = ["".join(shown("".join(cell.source), names)) for cell in code]
    whale = max(groupby(demo.trades, lambda t: t.wallet), key=lambda item: len(list(item[1])))[0]
    assert f"{len(demo.trades)}" in texts[0]
    assert "USDC per share" in texts[1]
    assert whale in texts[2]
    assert [text for text in texts if not text] == [""], "only the last cell shows nothing"


def test_the_page_says_what_the_tables_say_and_its_commands_work(
    demo: DemoTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = PAGE.read_text()
    for name, meaning in TRADES.items():
        assert re.search(rf"^\| `{name}` \| \w+ \| {re.escape(meaning)} \|", page, re.MULTILINE), (
            name
        )
    for view, relation in VIEWS.items():
        for name, meaning in relation.columns.items():
            assert f"| `{view}` | `{name}` | {meaning} |" in page
    found = commands("docs/analysis.md")
    assert len(found) == 5
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    for _, *words in found:
        arguments = words[: words.index(">")] if ">" in words else words
        assert demo.deployment.here(*arguments)[0] == 0, words
    assert {each.name for each in tmp_path.iterdir()} == {"examples", "trades.parquet", "some.csv"}
    # What the page says about a table of an earlier version.
    (change,) = re.findall(r"`(ALTER TABLE trades [^`]*)`", page)
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'America/New_York'")
        db.execute("CREATE TABLE trades AS SELECT TIMESTAMP '2024-05-06 07:08:09' AS timestamp")
        before = db.execute("SELECT epoch(timestamp) FROM trades").fetchall()
        db.execute(change)
        after = db.execute("SELECT epoch(timestamp), typeof(timestamp) FROM trades").fetchall()
    assert after == [(*before[0], "TIMESTAMP WITH TIME ZONE")]
