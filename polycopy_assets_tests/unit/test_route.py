"""No way to the source: said for what it is, in one sentence, by scheme, host and port alone."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.errors import ConfigurationError, PermanentError, TransientError, Unreachable
from polycopy_assets.settings import read_settings
from polycopy_assets.settings.proxy import is_loopback, proxy_variable, shown
from polycopy_assets_tests.fakes.forward_proxy import PASSWORD, USER, forward_proxy
from polycopy_assets_tests.fakes.tls import certificate, tls_server
from polycopy_assets_tests.unit.test_http import GOOD, answering, get, no_waits

__all__ = ["no_waits"]

ELSEWHERE = "http://sample.invalid/base"
"""A source that no name server knows: only a proxy leads there."""


@contextmanager
def over_tls(directory: Path, days: int = 1) -> Iterator[tuple[str, Path]]:
    pem = certificate(directory, days=days)
    server = tls_server(pem)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", pem
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused(url: str, **options: Any) -> str:
    with pytest.raises(Unreachable) as error:
        get(url, **options)
    message = str(error.value)
    assert message.isprintable()
    assert "/v2/trades" not in message, "the same for every wallet, so that it is said once"
    assert "0xabc" not in message
    assert error.value.__cause__ is None
    return message


@pytest.mark.usefixtures("no_waits")
def test_a_name_that_cannot_be_resolved_is_said_to_be_that():
    assert refused(f"{ELSEWHERE}?key=secret").startswith(
        "the name sample.invalid cannot be resolved: "
    )


@pytest.mark.usefixtures("no_waits")
def test_a_refused_connection_is_said_to_be_that_and_no_user_is_shown():
    message = refused("http://user:secret@127.0.0.1:9/base")
    assert message == "http://127.0.0.1:9 refuses the connection, 3 attempts"


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(("days", "why"), [(1, "self"), (-1, "expired")])
def test_a_certificate_that_is_not_trusted_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, why: str
):
    with over_tls(tmp_path, days) as (url, pem):
        if why == "expired":
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        message = refused(url)
    assert message.startswith(f"the TLS certificate of {url} is not accepted: ")
    assert why in message


def test_a_certificate_that_ssl_cert_file_names_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with over_tls(tmp_path) as (url, pem):
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert get(url).body == b"{}"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "not-there.pem"))
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
            get(url)


@pytest.mark.usefixtures("no_waits")
def test_a_server_that_speaks_no_tls_is_said_to_be_that():
    with answering(GOOD) as (url, _):
        message = refused(url.replace("http://", "https://"))
    assert message.startswith(f"TLS with {url.replace('http://', 'https://')} failed: ")


@pytest.mark.usefixtures("no_waits")
def test_a_connection_that_breaks_off_is_this_requests_failure_and_names_it():
    with answering(None) as (url, _), pytest.raises(TransientError) as error:
        get(url)
    assert not isinstance(error.value, Unreachable)
    assert f"trades of 0xabc: the connection to {url} broke off: " in str(error.value)


def test_a_key_that_fits_in_no_header_is_refused_and_not_shown():
    with answering(GOOD) as (url, _), pytest.raises(PermanentError) as error:
        get(url, headers={"Authorization": "Bearer secret\nkey"})
    assert "secret" not in str(error.value)


def test_a_source_behind_a_proxy_is_reached_through_it():
    with answering(GOOD) as (url, asked), forward_proxy(url) as proxy:
        assert get(ELSEWHERE, proxy=proxy.url).body == GOOD[2]  # type: ignore[index]
        assert [path.split("?")[0] for path in asked] == ["/base/v2/trades"]
        assert proxy.asked[0].startswith("http://sample.invalid/base/v2/trades?")


@pytest.mark.usefixtures("no_waits")
def test_a_proxy_that_wants_another_password_is_named_without_the_one_it_got():
    with answering(GOOD) as (url, _), forward_proxy(url) as proxy:
        wrong = proxy.url.replace(PASSWORD, "wrong-one")
        for source in (ELSEWHERE, "https://sample.invalid"):
            message = refused(source, proxy=wrong)
            assert f"the proxy http://{proxy.address} does not let us through" in message
            assert "sample.invalid" in message
            assert "wrong-one" not in message
            assert USER not in message


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://u:secret@127.0.0.1:9", "the proxy http://127.0.0.1:9 refuses the connection"),
        ("127.0.0.1:9", "the proxy http://127.0.0.1:9 refuses the connection"),
        ("http://u:secret@proxy.invalid:3128", "the name proxy.invalid (the proxy) cannot be res"),
    ],
)
def test_a_proxy_that_is_not_there_is_named_without_its_password(proxy: str, words: str):
    message = refused(ELSEWHERE, proxy=proxy)
    assert message.startswith(words)
    assert "secret" not in message


def test_a_refusal_that_came_through_a_proxy_names_it():
    body = b'{"error":"bad","code":"invalid_request"}'
    with answering((404, {}, body)) as (url, _), forward_proxy(url) as proxy:
        with pytest.raises(PermanentError, match=f"the proxy http://{proxy.address}") as error:
            get(ELSEWHERE, proxy=proxy.url)
        assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    ("environ", "url", "name"),
    [
        ({}, "https://x.org", ""),
        ({"HTTP_PROXY": "http://p:1"}, "https://x.org", ""),
        ({"HTTPS_PROXY": "http://p:1"}, "https://x.org", "HTTPS_PROXY"),
        ({"HTTP_PROXY": "http://p:1"}, "http://x.org", "HTTP_PROXY"),
        ({"ALL_PROXY": "p:1"}, "http://x.org", "ALL_PROXY"),
        ({"all_proxy": "http://p", "ALL_PROXY": "http://q"}, "http://x.org", "all_proxy"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://q"}, "https://x.org", ""),
        ({"ALL_PROXY": "socks5://p", "HTTPS_PROXY": "http://q"}, "https://x.org", "HTTPS_PROXY"),
        ({"ALL_PROXY": "socks5://p"}, "http://127.0.0.1:8800", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:8800", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.9.9.9", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://localhost:8800", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://[::1]:8800", ""),
        ({"HTTP_PROXY": "http://p:1"}, "http://128.0.0.1", "HTTP_PROXY"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, "http://x.org", ""),
        ({"HTTP_PROXY": "http://p:1", "no_proxy": "y.org, .x.org"}, "http://a.x.org", ""),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "x.org:81"}, "http://x.org:80", "HTTP_PROXY"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "x.org:80"}, "http://x.org:80", ""),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3", ""),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "ox.org"}, "http://x.org", "HTTP_PROXY"),
    ],
)
def test_the_variable_that_names_the_proxy(environ: dict[str, str], url: str, name: str):
    assert proxy_variable(environ, url) == name
    assert read_settings({**environ, "POLYCOPY_SOURCE_URL": url}).proxy == name


@pytest.mark.parametrize(
    "text",
    [
        "http://[::1",
        "http://",
        "http://h:99999",
        "http://h:0",
        "http://h o st:1",
        "http://h\x1b[2J:1",
        "foo://h:1",
        "::::",
        "http://u:p#x@h",
        "http://1.2.3.999",
        "http://[::1]h",
        "http://xn--a",
        "http://☃.example",
    ],
)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_is_no_url_stops_at_the_start_in_one_line(name: str, text: str):
    environ = {name: text, "POLYCOPY_SOURCE_URL": "http://127.0.0.1:8800"}
    with pytest.raises(ConfigurationError) as error:
        read_settings(environ)
    assert str(error.value).startswith(f"{name}='")
    assert str(error.value).isprintable()
    assert "expected http://" in str(error.value)


def test_a_proxy_that_only_httpx_refuses_is_refused_where_the_source_is_opened():
    text = "http://u:secret@xn--ß"
    assert proxy_variable({"HTTP_PROXY": text}, "http://h") == "HTTP_PROXY"
    with pytest.raises(ConfigurationError, match=r"^the proxy 'http://xn--ß' is not accepted"):
        refused(ELSEWHERE, proxy=text)


def test_a_kind_of_proxy_that_is_not_spoken_is_refused_where_it_would_be_used():
    with pytest.raises(ConfigurationError, match=r"^ALL_PROXY='socks5://p:1' is not accepted"):
        read_settings({"ALL_PROXY": "socks5://u:secret@p:1"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secretpw", "http://…"),
        ("user:secretpw", "http://…"),
        ("user:secretpw://", "://…"),
        ("https://secretpw:443443", "https://…"),
    ],
)
def test_where_the_host_was_forgotten_nothing_is_shown_that_may_be_a_password(
    text: str, shown: str
):
    with pytest.raises(ConfigurationError) as error:
        read_settings({"HTTPS_PROXY": text})
    assert f"HTTPS_PROXY='{shown}' is not accepted" in str(error.value)
    assert "secretpw" not in str(error.value)


def test_a_wrong_proxy_is_named_without_its_password():
    with pytest.raises(ConfigurationError) as error:
        read_settings({"HTTPS_PROXY": "http://user:se@cret@host:99999"})
    assert "HTTPS_PROXY='http://host:99999'" in str(error.value)
    assert shown("http://user:se@cret@host:1/") == "http://host:1"


def test_loopback_is_told_from_the_rest():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost", "a.localhost")))
    assert is_loopback("::ffff:127.0.0.1")
    assert not any(map(is_loopback, ("128.0.0.1", "localhost.org", "::2", "10.0.0.1", "")))


def test_the_sample_api_is_reached_past_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as nobody, answering(GOOD) as (url, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        get(url)
    assert len(asked) == 1
