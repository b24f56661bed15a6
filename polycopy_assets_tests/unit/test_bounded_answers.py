"""An answer has an end and a size, and one that is broken the same way each time is no accident."""

import asyncio
import gzip
import itertools
import json
import socket
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.errors import ContractBroken, PermanentError, TransientError
from polycopy_assets.sources import body as bodies
from polycopy_assets.sources import failing, rows
from polycopy_assets.sources.body import ERROR_BYTES, PAGE_BYTES, BadBody, read_json, read_start
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.failing import Tries
from polycopy_assets.sources.http import Answer, Http
from polycopy_assets.sources.retry_after import LONGEST_RETRY_AFTER, retry_after
from polycopy_assets.trades import odd_json
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page
from polycopy_assets_tests.of_trades import open_source
from polycopy_assets_tests.unit.test_http import GOOD, Reply, answering, get, no_waits, today

__all__ = ["no_waits", "today"]

WALLET = "0x" + "a" * 40


def response(*chunks: bytes, encoding: str = "") -> httpx.Response:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    headers = {"Content-Encoding": encoding} if encoding else {}
    return httpx.Response(200, headers=headers, content=stream())


def read(answer: httpx.Response) -> bytes:
    return asyncio.run(read_json(answer)).served


@given(st.binary(max_size=200_000), st.integers(1, 70_000), st.sampled_from(["gzip", "deflate"]))
@settings(max_examples=60, deadline=None)
def test_what_was_packed_comes_out_however_it_is_cut(data: bytes, size: int, encoding: str):
    text = b'"' + data.hex().encode() + b'"'
    packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert read(response(*chunks, encoding=encoding)) == text


@pytest.mark.parametrize("size", [bodies._PIECE, 2 * bodies._PIECE, 7 * bodies._PIECE])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("cut", [1, 7, 1400, 2**20])
def test_a_body_that_ends_with_a_full_piece_is_whole(size: int, encoding: str, cut: int):
    text = b"[1]" + b" " * (size - 3)
    packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
    chunks = [packed[at : at + cut] for at in range(0, len(packed), cut)]
    assert read(response(*chunks, encoding=encoding)) == text


def test_members_that_each_end_with_a_full_piece_are_all_read():
    first, last = b"[" + b" " * (bodies._PIECE - 1), b" " * (bodies._PIECE - 1) + b"]"
    packed = gzip.compress(first) + gzip.compress(last)
    assert read(response(packed, encoding="gzip")) == first + last
    with pytest.raises(BadBody, match="ends too early"):
        read(response(packed[:-4], encoding="gzip"))


def test_gzip_of_several_members_is_read_to_its_end():
    packed = gzip.compress(b'{"a":') + gzip.compress(b"1}")
    assert read(response(packed, encoding="gzip")) == b'{"a":1}'
    assert read(response(*(bytes([each]) for each in packed), encoding="x-gzip")) == b'{"a":1}'


@pytest.mark.parametrize(
    ("chunks", "encoding", "words"),
    [
        ([b"no gzip"], "gzip", "undecodable gzip body"),
        ([gzip.compress(b"[1]")[:-9]], "gzip", "ends too early"),
        ([gzip.compress(b"[1]") + b"rest"], "gzip", "undecodable gzip body"),
        ([gzip.compress(b"[1]")], "gzip, gzip", "an encoding that was not asked for"),
        ([b"[1]"], "br", r"an encoding that was not asked for \(br\)"),
        ([b"[1"], "", "broken JSON"),
        ([b""], "", "broken JSON"),
        ([b" " * 2**20] * 9, "", f"more than {PAGE_BYTES:,} bytes"),
        ([gzip.compress(b" " * 2**28)], "gzip", f"more than {PAGE_BYTES:,} bytes"),
        ([b"[" + b"1," * 3 * 2**20 + b"1]"], "", "3,145,728 values"),
        ([b"[" * 2**22 + b"]" * 2**22], "", "a body of 8,388,608 brackets"),
        ([gzip.compress(b"[" * 2**20)], "gzip", "a body of 1,048,576 brackets"),
        ([b'{"a":' * 2**17 + b"1" + b"}" * 2**17], "", "a body of 524,288 brackets"),
        ([rb'["\ud800"' + b',""' * 2**18 + b"]"], "", "brackets, quotes and backslashes"),
        ([rb'["\ud800' + rb"\n" * 2**20 + b'"]'], "", "brackets, quotes and backslashes"),
    ],
)
def test_a_body_that_cannot_be_used_says_why(chunks: list[bytes], encoding: str, words: str):
    with pytest.raises(BadBody, match=words):
        read(response(*chunks, encoding=encoding))


def test_packed_blocks_that_hold_nothing_are_not_read_for_ever():
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    start, empty = pack.compress(b" ") + pack.flush(zlib.Z_SYNC_FLUSH), b"\0\0\0\xff\xff"
    with pytest.raises(BadBody, match="packed bytes"):
        read(response(start, *([empty * 2**18] * 9), encoding="gzip"))


def test_no_more_is_unpacked_at_once_than_a_piece(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    unpack = bodies._Packed.unpack

    def noted(self: bodies._Packed, data: bytes) -> Iterator[bytes]:
        for piece in unpack(self, data):
            sizes.append(len(piece))
            yield piece

    monkeypatch.setattr(bodies._Packed, "unpack", noted)
    with pytest.raises(BadBody):
        read(response(gzip.compress(b" " * 2**28), encoding="gzip"))
    assert max(sizes) <= 2**16
    assert sum(sizes) <= PAGE_BYTES + 2**16


def test_of_an_errors_body_only_the_start_is_read():
    start = asyncio.run(read_start(response(*([b"x" * 2**16] * 99))))
    assert len(start) == ERROR_BYTES
    assert asyncio.run(read_start(response(b"no gzip", encoding="gzip"))) == b""


BROKEN: list[Reply] = [
    (200, {}, b'{"data": [1, 2'),
    (200, {"Content-Encoding": "gzip"}, b"no gzip"),
    (200, {"Content-Encoding": "br"}, b"{}"),
    (200, {}, b" " * (PAGE_BYTES + 1)),
]


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("reply", BROKEN)
def test_the_same_broken_answer_each_time_breaks_the_contract(reply: Reply):
    with answering(reply) as (url, asked), pytest.raises(ContractBroken) as error:
        get(url)
    assert len(asked) == 3
    assert "trades of 0xabc: 200 with " in str(error.value)
    assert "3 identical answers, 3 attempts" in str(error.value)


def test_it_is_known_after_three_attempts_of_eight():
    with stamina.set_testing(True, attempts=8):
        with answering(BROKEN[0]) as (url, asked), pytest.raises(ContractBroken):
            get(url)
        assert len(asked) == 3
        replies = [BROKEN[0], BROKEN[1], *[BROKEN[0]] * 3]
        with answering(*replies) as (url, asked), pytest.raises(ContractBroken):
            get(url)
        assert len(asked) == 5


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    "replies",
    [
        [(200, {}, b'{"data": [1'), (200, {}, b'{"data": ['), (200, {}, b'{"da')],
        [None, BROKEN[0], BROKEN[0]],
        [(200, {"Content-Length": "999"}, b'{"data":')],
        [(500, {}, b"oops")],
        [(503, {}, b'{"data": [1')],
    ],
)
def test_what_differs_or_broke_off_or_is_an_error_stays_transient(replies: list[Reply]):
    with answering(*replies) as (url, asked), pytest.raises(TransientError):
        get(url)
    assert len(asked) == 3


@contextmanager
def raw(
    *sent: bytes,
    pause: float,
    last: Callable[[], bytes] = bytes,
    asked: Callable[[], object] = int,
) -> Iterator[str]:
    """A server of raw bytes: each of `sent`, a pause after each; then `last` for ever.

    `asked` is called at each request.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk(connection: socket.socket) -> None:
            with connection:
                try:
                    if connection.recv(65536):
                        asked()
                    for piece in sent:
                        connection.sendall(piece)
                        time.sleep(pause)
                    while piece := last():
                        connection.sendall(piece)
                        time.sleep(pause)
                except OSError:
                    return  # the client hung up

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                Thread(target=talk, args=(connection,), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (HEAD, b" "),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 503 Slow\r\nContent-Length: 1000000\r\n\r\n", b" "),
    ],
)
def test_an_answer_that_never_ends_ends_after_four_time_outs_three_times(head: bytes, piece: bytes):
    asked = itertools.count()
    with (
        stamina.set_testing(True, attempts=8),
        raw(head, pause=0.05, last=lambda: piece, asked=lambda: next(asked)) as url,
        pytest.raises(TransientError) as error,
    ):
        get(url)
    assert next(asked) == 3
    assert "trades of 0xabc: /v2/trades did not end within 1.2 s, 3 attempts" in str(error.value)


@pytest.mark.usefixtures("no_waits")
def test_an_answer_that_takes_its_time_and_ends_is_fine_and_tells_how_long_it_took(
    monkeypatch: pytest.MonkeyPatch,
):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    now, rest = [0.0], iter([b"[", b" ", b" ", b"]"])

    def piece() -> bytes:
        found = next(rest, b"")
        now[0] += 10.0 * len(found)
        return found

    monkeypatch.setattr(failing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    # Together the pauses are longer than the time-out; none of them is.
    with raw(head, pause=0.15, last=piece) as url:
        answer = get(url)
    assert answer.body == b"[  ]"
    assert answer.seconds == 40


def test_time_spent_on_failed_attempts_counts_but_not_the_wait_that_a_429_asks_for(
    monkeypatch: pytest.MonkeyPatch,
):
    now, go_on = [0.0], Tries.go_on

    def after_the_wait(tries: Tries) -> None:
        now[0] += 1000
        go_on(tries)

    def seconds(status: int) -> float:
        with answering((status, {"Retry-After": "0.01"}, b"{}"), GOOD) as (url, _):
            return get(url).seconds

    monkeypatch.setattr(failing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Tries, "go_on", after_the_wait)
    assert seconds(503) == 1000
    assert seconds(429) == 0


NESTED = "[" * 150_000 + "]" * 150_000
"""What is still accepted of nested values: the most that an answer may take to be looked at."""


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    ("odd", "becomes"), [("[" * 4_000_000 + "]" * 4_000_000, ContractBroken), (NESTED, Page)]
)
def test_an_answer_full_of_brackets_holds_up_no_other(
    odd: str, becomes: type, monkeypatch: pytest.MonkeyPatch
):
    """A bomb of 8 KB used to take twenty seconds in which not one other request went on.

    Nothing else runs while a text is looked through, so its signs are counted.
    """
    looked_at: list[int] = []
    shallow = odd_json._shallow

    def noted(text: bytes) -> bytes:
        looked_at.append(sum(text.count(sign) for sign in (b"[", b"]", b"{", b"}", b'"', b"\\")))
        return shallow(text)

    monkeypatch.setattr(odd_json, "_shallow", noted)
    body = gzip.compress(f'{{"data":[{row(odd)}],"pagination":{{"has_more":false}}}}'.encode())
    with answering((200, {"Content-Encoding": "gzip"}, body)) as (url, _):

        async def run() -> object:
            async with open_source(
                "polymarket", url, windows=[Window(99, 1)], concurrency=2, timeout=9
            ) as source:
                page = source.page(WALLET, Interval(0, 9_999_999_999), None)
                (found,) = await asyncio.gather(page, return_exceptions=True)
                return found

        found = asyncio.run(run())
    assert isinstance(found, becomes), found
    if becomes is ContractBroken:
        assert "are looked at where JSON is deeply nested" in str(found)
        assert looked_at == [], "it is refused before it is looked through"
    else:
        assert len(looked_at) == 1, "it is looked through once"
        assert len(NESTED) < looked_at[0] <= 400_000


def test_a_page_is_tamed_once_at_most(monkeypatch: pytest.MonkeyPatch):
    tamed: list[int] = []
    tame = odd_json.tame

    def noted(text: bytes) -> bytes:
        tamed.append(len(text))
        return tame(text)

    for module in (odd_json, rows):
        monkeypatch.setattr(module, "tame", noted)
    odd = "[" * 3000 + "]" * 3000
    page = f'{{"data":[{row(odd)},{row("1")}],"pagination":{{"has_more":false}}}}'.encode()
    with answering((200, {}, page)) as (url, _):

        async def run() -> Page:
            async with open_source(
                "polymarket", url, windows=[Window(99, 1)], concurrency=1, timeout=9
            ) as source:
                return await source.page(WALLET, Interval(0, 9_999_999_999), None)

        found = asyncio.run(run())
    assert tamed == [len(page)]
    assert [each.raw.decode() for each in found.rows] == [row(odd), row("1")]


def row(unlisted: str) -> str:
    """A row of `WALLET` with a field that nobody listed."""
    return json.dumps(
        {
            "proxy_wallet": WALLET,
            "timestamp": 1_700_000_000,
            "side": "BUY",
            "price": 0.5,
            "size": 1,
            "token_id": "1",
            "condition_id": "c",
            "transaction_hash": "0x1",
            "unlisted": None,
        }
    ).replace("null", unlisted)


def test_a_slow_answer_keeps_no_other_from_going_on():
    with raw(HEAD, pause=0.05, last=lambda: b" ") as slow, answering(GOOD) as (url, _):

        async def run() -> bool:
            async with (
                Http(slow, windows=[Window(9, 1)], concurrency=2, timeout=0.5) as one,
                Http(url, windows=[Window(9, 1)], concurrency=2, timeout=0.5) as other,
            ):
                task = asyncio.create_task(one.get("/", {}, "slow"))
                await asyncio.sleep(0.1)
                await other.get("/", {}, "quick")
                under_way = not task.done()
                task.cancel()
                return under_way

        assert asyncio.run(run()), "the quick answer came after the slow one was given up"


ODD = [
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 -0100",
    "Sat, 01 Jan 0001 00:00:00 +2300",
    "Mon, 23 Nov 99999 10:00:00 GMT",
    "Mon, 99 Foo 2026 10:00:00 +9999",
    "-5",
    "9" * 5000,
    "1e400",
    "nan",
    "inf",
    "\u00b2",
    "1, 2",
    "soon",
    "",
]


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("status", [429, 503])
def test_whatever_retry_after_says_the_request_is_tried_again(value: str, status: int):
    headers = httpx.Headers([(b"Retry-After", value.encode("latin-1"))])
    wait = retry_after(headers)
    assert wait is None or 0 < wait <= LONGEST_RETRY_AFTER
    if wait is not None:
        return  # two minutes are not waited for here; the next test has such values
    with answering((status, {"Retry-After": value}, b"{}"), GOOD) as (url, _):
        assert get(url).requests == 2


def test_a_source_that_asks_to_wait_again_and_again_is_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("polycopy_assets.sources.failing.LONGEST_SECONDS", 0.9)
    reply: Reply = (503, {"Retry-After": "0.5"}, b"{}")
    with answering(reply) as (url, asked), pytest.raises(TransientError, match="3 attempts"):
        asyncio.run(_get_eight_times(url))
    assert len(asked) == 3


async def _get_eight_times(url: str) -> Answer:
    async with Http(url, windows=[Window(99, 1)], concurrency=1) as source:
        return await source.get("/", {}, "it")


def test_far_dates_are_two_minutes_and_of_several_headers_the_longest_counts(today: datetime):
    far = [retry_after(httpx.Headers({"Retry-After": value})) for value in ODD[:2]]
    assert far == [120.0, 120.0]
    soon = format_datetime(today + timedelta(seconds=50))
    several = httpx.Headers([("Retry-After", each) for each in ("7", soon, "odd", "-1", "2.5")])
    assert retry_after(several) == 50
    assert retry_after(httpx.Headers({"Retry-After": "2.5"})) == 2.5
    assert retry_after(httpx.Headers({"Retry-After": "0.0"})) is None


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=3))
@settings(max_examples=300, deadline=None)
def test_no_retry_after_at_all_can_raise(values: list[str]):
    headers = httpx.Headers([(b"Retry-After", value.encode("latin-1")) for value in values])
    wait = retry_after(headers)
    assert wait is None or 0 < wait <= LONGEST_RETRY_AFTER


def test_no_cookie_of_the_source_is_kept():
    heard: list[dict[str, str]] = []
    reply: Reply = (200, {"Set-Cookie": "a=1"}, b"{}")
    with answering(reply, heard=heard) as (url, _):

        async def run() -> list[Answer]:
            async with Http(url, windows=[Window(9, 1)], concurrency=1) as source:
                return [await source.get("/", {}, "it") for _ in range(2)]

        asyncio.run(run())
    assert [headers.get("Cookie") for headers in heard] == [None, None]


def test_what_a_refusal_says_is_one_harmless_line_of_moderate_length():
    told = b"\x1b[2Jno\r\nforged \xe2\x80\xae line" + b"y" * 50_000
    body = b'{"error":"' + told.replace(b"\x1b", b"\\u001b").replace(b"\r\n", b"\\r\\n") + b'"}'
    with (
        answering((400, {"x-trace-id": "t\x9b31m" + "z" * 5000}, body)) as (url, _),
        pytest.raises(PermanentError) as error,
    ):
        get(url)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 700
    assert "\\x1b[2Jno\\r\\nforged \\u202e line" in message
    assert "(trace t\\x9b31mzzz" in message
