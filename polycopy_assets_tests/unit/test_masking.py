"""The API key: what can be one, and that no spelling of it leaves the place where requests are."""

import asyncio
import base64
import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import certifi
import pytest
import stamina

from polycopy_assets.errors import ConfigurationError, ContractBroken, SourceError
from polycopy_assets.settings.checked import (
    check_certificates,
    clean_key,
    refuse_credentials,
    shown_url,
)
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.masking import Mask
from polycopy_assets.sources.pieces import Pieces
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.walk import walk
from polycopy_assets_tests.of_trades import open_source
from polycopy_assets_tests.unit.test_http import Reply, answering

KEY = "sk-live/Ab+c=9&<q'\"uot%e>\\x"
WALLET = "0x" + "1" * 40
PLAIN = "sk-live/7c1d+0a2b4e6f8091"


def php(text: str) -> str:
    """As PHP writes JSON: a slash has a backslash before it."""
    return json.dumps(text).replace("/", "\\/")[1:-1]


def dotnet(text: str) -> str:
    """As .NET and Go write JSON: what HTML may misread is `\\u002B`."""
    return "".join(c if c.isalnum() or c == "-" else f"\\u{ord(c):04X}" for c in text)


def all_escaped(text: str) -> str:
    """Each character as `\\u0073`."""
    return "".join(f"\\u{ord(c):04x}" for c in text)


def within(before: str, text: str) -> str:
    """Base64 of a header or of a login in which the key stands after something else."""
    return base64.b64encode(f"{before}{text}".encode()).decode()


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.mark.parametrize(
    "spelled",
    [
        KEY,
        KEY.upper(),
        f"Bearer {KEY}",
        quote(KEY),
        quote(KEY, safe=""),
        quote_plus(KEY).lower(),
        json.dumps(KEY),
        html.escape(KEY),
        repr(KEY),
        base64.b64encode(KEY.encode()).decode(),
        within(":", KEY),
        within("me:", KEY),
        within("Bearer ", KEY),
        base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode(),
        php(KEY),
        dotnet(KEY),
        all_escaped(KEY),
        KEY[:12],
        KEY[9:],
    ],
)
def test_every_spelling_and_every_longer_piece_is_masked(spelled: str):
    said = Mask([KEY])(f"refused: İ {spelled}, try again")
    assert said.startswith("refused: İ ")
    assert "***" in said
    assert said.endswith(", try again")
    assert not any(KEY[i : i + 8].lower() in said.lower() for i in range(len(KEY) - 7))
    assert not any(spelled[i : i + 16] in said for i in range(8, len(spelled) - 15))


def test_what_is_no_secret_stays_as_it_is():
    text = "orders of 0xabc: 503 dependency_unavailable (trace 1f), 8 attempts"
    assert Mask([KEY])(text) == text
    assert Mask([])(text) == text
    assert Mask(["x"])("extra x, 0x1") == "extra ***, 0x1", "a short one is no part of a word"


@pytest.mark.parametrize("key", ["sk-1\nsk-2", "sk\r\nX: y", "sk-\x00", "“sk-secret”", "sk-é"])
def test_a_key_that_cannot_be_a_header_is_refused_without_being_shown(key: str):
    with pytest.raises(ConfigurationError, match=r"^DOME_API_KEY is not accepted") as error:
        clean_key(key)
    assert not any(part in str(error.value) for part in ("sk", "secret", "\n", "é", "“"))


def test_white_space_around_a_key_is_stripped_before_it_is_sent():
    assert clean_key(" sk-secret\r\n") == "sk-secret"
    heard: list[dict[str, str]] = []
    with answering((200, {}, b'{"orders":[],"pagination":{"has_more":false}}'), heard=heard) as (
        url,
        _,
    ):
        ask(url, key=f"\t{KEY}\n")
    assert heard[0]["Authorization"] == f"Bearer {KEY}"


def ask(url: str, key: str = KEY, kind: str = "dome", proxy: str = "") -> None:
    async def run() -> None:
        async with open_source(
            kind, url, windows=[Window(999, 1)], concurrency=1, timeout=1, api_key=key, proxy=proxy
        ) as source:
            await source.page(WALLET, Interval(0, 10), None)

    asyncio.run(run())


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "reply",
    [
        (400, {}, body(error="bad", message=f"Authorization: Bearer {KEY}")),
        (403, {}, body(error=KEY)),
        (500, {}, body(error=quote(KEY, safe=""))),
        (429, {"Retry-After": "0"}, body(code=KEY[:14] + "…")),
        (404, {"x-trace-id": KEY}, b"<html></html>"),
        (200, {"x-trace-id": KEY}, b"{"),
        (200, {}, body(orders=[{"title": KEY}], pagination={"has_more": False})),
        (200, {}, body(orders=[], pagination={"has_more": KEY})),
        (302, {"Location": f"https://other/?key={quote(KEY)}"}, b""),
    ],
)
def test_whatever_a_gateway_echoes_the_key_is_in_no_error_and_in_no_cause_of_one(reply: Reply):
    with answering(reply) as (url, _), pytest.raises(SourceError) as caught:
        ask(url)
    error: BaseException | None = caught.value
    texts = []
    while error is not None:
        texts.append(f"{error!s} {error!r}")
        error = error.__cause__ or error.__context__
    said = " ".join(texts).lower()
    assert not any(KEY[i : i + 8].lower() in said for i in range(len(KEY) - 7)), said
    assert quote(KEY, safe="").lower() not in said


def page(title: str) -> bytes:
    """A page with one good trade; `title` stands in it as it is written here."""
    row = {
        "user": WALLET,
        "side": "BUY",
        "token_id": "1",
        "timestamp": 5,
        "price": 0.5,
        "shares_normalized": 1.0,
        "tx_hash": "0x" + "a" * 64,
        "title": "TITLE",
    }
    return body(orders=[row], pagination={"has_more": False}).replace(b"TITLE", title.encode())


@pytest.mark.parametrize("key", [KEY, PLAIN, "0123456789abcdef", "sk-short"])
@pytest.mark.parametrize(
    "spell",
    [
        lambda key: json.dumps(f"Bearer {key}")[1:-1],
        lambda key: json.dumps(json.dumps({"Authorization": key}))[1:-1],
        php,
        lambda key: json.dumps(php(key))[1:-1],
        dotnet,
        all_escaped,
        lambda key: json.dumps(all_escaped(key))[1:-1],
        lambda key: json.dumps(key.upper())[1:-1],
        lambda key: quote(key, safe=""),
        lambda key: within("", key),
        lambda key: within(":", key),
        lambda key: within("Bearer ", key),
    ],
)
def test_an_answer_that_holds_the_key_in_any_spelling_is_not_stored(
    key: str, spell: Callable[[str], str]
):
    answer = page(spell(key))
    json.loads(answer)
    with answering((200, {}, answer)) as (url, _), pytest.raises(ContractBroken, match="a secret"):
        ask(url, key)


@pytest.mark.parametrize("part", [slice(0, -2), slice(3, None), slice(5, 17)])
def test_nor_is_one_that_holds_twelve_characters_of_it(part: slice):
    for spelled in (PLAIN[part], php(PLAIN[part]), dotnet(PLAIN[part])):
        answer = page(spelled)
        with (
            answering((200, {}, answer)) as (url, _),
            pytest.raises(ContractBroken, match="a secret"),
        ):
            ask(url, PLAIN)


@pytest.mark.parametrize(
    ("key", "title"),
    [
        (PLAIN, "Will it live/7c1d+0?"),  # eleven characters of it
        ("will-bitcoin-key-1", "will-bitcoin"[:11]),
        ("Bitcoin", "Bitcoin"),  # too short a key to be told from a word
        ("00000000-0000-0000-0000-000000000000", f"0x{'0' * 40} \\u0030\\/"),
        (PLAIN, "\\u0022\\\\\\\\\\/" * 99),
    ],
)
def test_ordinary_data_is_stored_whatever_short_piece_of_the_key_it_holds(key: str, title: str):
    with answering((200, {}, page(title))) as (url, _):
        ask(url, key)


def test_what_was_not_sent_to_the_source_does_not_make_an_answer_be_refused():
    told = {"has_more": False, "note": f"hunter2-hunter2 me:hunter2-hunter2 {KEY}"}
    for kind, answer in (
        ("dome", page("hunter2-hunter2")),
        ("polymarket", body(data=[], pagination=told)),
    ):
        with answering((200, {}, answer)) as (url, asked):
            proxy = url.replace("://", "://me:hunter2-hunter2@")
            ask("http://source.invalid", KEY, kind, proxy=proxy)
        assert asked


def test_what_is_wrong_with_a_row_is_said_without_the_key():
    piece = PLAIN[:11]  # too little to refuse the answer for it
    for field in ("side", "user", "tx_hash", "timestamp"):
        row = json.loads(page(""))["orders"][0] | {field: piece}
        answer = body(orders=[row, row | {"timestamp": 4}], pagination={"has_more": False})
        with answering((200, {}, answer)) as (url, _), pytest.raises(ContractBroken) as error:
            asyncio.run(walked(url))
        assert piece not in str(error.value)
        assert piece[:8] not in str(error.value)
        assert error.value.__cause__ is error.value.__context__ is None


async def walked(url: str) -> None:
    async with open_source(
        "dome", url, windows=[Window(999, 1)], concurrency=1, timeout=1, api_key=PLAIN
    ) as source:
        async for _ in walk(source, WALLET, Interval(0, 10)):
            pass


class _Counted(bytes):
    """A text that counts how often it is searched."""

    searches = 0

    def find(self, *args: Any) -> int:
        _Counted.searches += 1
        return super().find(*args)

    def startswith(self, *args: Any) -> bool:
        _Counted.searches += 1
        return super().startswith(*args)


def test_a_page_of_a_thousand_rows_is_searched_as_often_as_one_of_one_row(
    monkeypatch: pytest.MonkeyPatch,
):
    occur_in = Pieces.occur_in
    monkeypatch.setattr(Pieces, "occur_in", lambda self, text: occur_in(self, _Counted(text)))

    def searches(rows: int) -> int:
        _Counted.searches = 0
        assert not Mask([PLAIN]).occurs_in(page("x \\u0022 y") * rows)
        return _Counted.searches

    assert searches(1000) == searches(1)
    # A key of 25 characters has a hundred pieces, and the page is searched as it is and unescaped.
    assert 0 < searches(1) < 2 * 50


@pytest.mark.parametrize("kind", ["dome", "polymarket"])
def test_a_proxys_password_that_is_a_word_of_the_data_is_no_echo(kind: str):
    rows = body(orders=[], data=[], pagination={"has_more": False, "note": "polymarket-upload"})
    with answering((200, {}, rows)) as (url, asked):
        proxy = url.replace("://", "://proxyuser:polymarket@")
        ask("http://source.invalid", kind=kind, proxy=proxy)
        assert asked
    rows = body(orders=[], pagination={"has_more": False, "note": KEY})
    with answering((200, {}, rows)) as (url, _), pytest.raises(ContractBroken, match="a secret"):
        ask("http://source.invalid", proxy=url.replace("://", "://proxyuser:polymarket@"))


def test_the_password_of_a_proxy_is_masked_as_it_is_sent_and_as_it_is_written():
    sent = base64.b64encode(b"proxyuser:p@ss-word").decode()
    echo = body(error="p@ss-word", message="p%40ss-word", code=f"Basic {sent}")
    with answering((407, {}, echo)) as (url, asked):
        proxy = url.replace("://", "://proxyuser:p%40ss-word@")
        with pytest.raises(SourceError) as error:
            ask("http://source.invalid", kind="polymarket", proxy=proxy)
    assert asked
    said = str(error.value)
    assert "407" in said
    assert "ss-word" not in said
    assert sent not in said


def test_of_a_url_scheme_host_and_path_are_shown():
    assert shown_url("https://h:1/v2") == "https://h:1/v2"
    assert shown_url("https://h/v2?key=secret#secret") == "https://h/v2?…"
    assert shown_url("https://me:sec?ret@h/v2") == "https://…"
    assert shown_url("me:secret@h") == "…"
    with pytest.raises(ConfigurationError, match="holds a user or a password") as error:
        refuse_credentials("X", "https://me:secret@h")
    assert "secret" not in str(error.value)
    refuse_credentials("X", "https://h/@me")


def test_certificates_that_cannot_be_read_are_named_at_the_start(tmp_path: Path):
    (tmp_path / "none.pem").write_text("no certificate")
    for path in (tmp_path / "none.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(ConfigurationError, match=r"^SSL_CERT_FILE=") as error:
            check_certificates({"SSL_CERT_FILE": str(path)})
        assert "\n" not in str(error.value)
    check_certificates({"SSL_CERT_FILE": certifi.where()})
