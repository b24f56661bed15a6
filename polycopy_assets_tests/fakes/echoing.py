"""A gateway of Dome's contract that tells everybody the key that it was sent, in many ways."""

import base64
import html
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

EMPTY = json.dumps({"orders": [], "pagination": {"has_more": False}}).encode()
Answer = tuple[int, dict[str, str], bytes]


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _trade(wallet: str, title: str) -> bytes:
    """A page with one trade that is as it should be, but for the title, as it is written here."""
    row = {"user": wallet, "side": "BUY", "token_id": "1", "timestamp": 1_700_000_000}
    row |= {"price": 0.5, "shares_normalized": 1.0, "tx_hash": "0x" + "a" * 64, "title": "TITLE"}
    page = _json(orders=[row], pagination={"has_more": False})
    return page.replace(b"TITLE", title.encode())


def answers(key: str, wallet: str = "") -> list[Answer]:
    """One answer for each way to fail; every one of them holds `key` in some spelling."""
    row = {"user": key, "side": key, "token_id": key, "timestamp": key}
    page = {"has_more": False}
    return [
        (400, {}, _json(error="Bad request", message=f"Authorization: Bearer {key}")),
        (401, {"WWW-Authenticate": f"Bearer {key}"}, _json(error=f"unknown key {key}")),
        (403, {}, _json(error=quote(key, safe=""), message=html.escape(key))),
        (404, {"x-trace-id": key}, f"<html>{html.escape(key)}</html>".encode()),
        (302, {"Location": f"/elsewhere?key={quote(key)}"}, b""),
        (500, {}, _json(error=base64.b64encode(key.encode()).decode())),
        (503, {"Retry-After": "0", "x-trace-id": key}, _json(message=key[:13] + "…")),
        (429, {"Retry-After": "0"}, key.encode()),
        (200, {}, b'{"orders": [' + key.encode()),
        (200, {}, _json(orders=[row], pagination=page)),
        (200, {}, _json(orders=[{key: 1}], pagination=page)),
        (200, {}, _json(orders=[], pagination={"has_more": True, "pagination_key": key})),
        (200, {}, _json(orders=key, pagination=page)),
        (200, {}, key.encode()),
        (200, {}, _trade(wallet, json.dumps(key)[1:-1].replace("/", "\\/"))),
        (200, {}, _trade(wallet, "".join(f"\\u{ord(character):04x}" for character in key))),
        (200, {}, _trade(wallet, json.dumps(key[:-2])[1:-1])),
        (200, {}, _trade(wallet, base64.b64encode(f"Bearer {key}".encode()).decode())),
        (200, {}, _trade(key[:11], "")),
    ]


@contextmanager
def echoing() -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the keys that it heard; wallet `0x…N` gets answer number N, others no trades."""
    heard: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            heard.append(key)
            wallet = parse_qs(urlsplit(self.path).query).get("user", ["0x0"])[0]
            all_of_them = answers(key, wallet)
            number = int(wallet, 16) - 1
            known = 0 <= number < len(all_of_them)
            status, headers, body = all_of_them[number] if known else (200, {}, EMPTY)
            self.send_response(status, f"Sorry {key}" if status >= 500 else None)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
