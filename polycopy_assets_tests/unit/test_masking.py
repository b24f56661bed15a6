"""The API key: what can be one, and that no spelling of it leaves the place where requests are."""

import asyncio
import base64
import html
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import certifi
import pytest
import stamina

from polycopy_assets.errors import ConfigurationError, ContractBroken, SourceError
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.checked import (
    check_certificates,
    clean_key,
    refuse_credentials,
    shown_url,
)
from polycopy_assets.sources.masking import Mask
from polycopy_assets.sources.open import open_source
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.unit.test_http import Reply, answering

KEY = "sk-live/Ab+c=9&<q'\"uot%e>\\x"
WALLET = "0x" + "1" * 40


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


def test_an_answer_that_holds_the_key_is_not_stored():
    rows = body(orders=[{"title": f"Bearer {KEY}"}], pagination={"has_more": False})
    with answering((200, {}, rows)) as (url, _), pytest.raises(ContractBroken, match="a secret"):
        ask(url)


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
