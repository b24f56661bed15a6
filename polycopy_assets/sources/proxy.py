"""The proxy that the environment names for a source: which variable, and what may be shown of it.

Read here and not by httpx, which takes a proxy for loopback addresses too, and turns a variable
that is no URL into a traceback. Its user and password are never shown.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.text import quoted

_SCHEMES = ("http", "https", "all")
_SPOKEN = frozenset({"http", "https"})
_KNOWN = _SPOKEN | {"socks4", "socks4a", "socks5", "socks5h"}
_ACCEPTED = "accepted is http://[USER:PASSWORD@]HOST[:PORT] or https://…"


def proxy_variable(environ: Mapping[str, str], url: str) -> str:
    """The variable in `environ` that names the proxy to `url`; empty if it is reached directly.

    `HTTP_PROXY` or `HTTPS_PROXY`, as the URL has it, else `ALL_PROXY`; lower case goes first. None
    for loopback addresses and for what `NO_PROXY` names. Raises ConfigurationError for any of these
    variables that is no proxy's URL.
    """
    found = {scheme: _set(environ, f"{scheme}_proxy") for scheme in _SCHEMES}
    for name in filter(None, found.values()):
        _check(name, environ[name], _KNOWN)
    target = urlsplit(url)
    name = found.get(target.scheme) or found["all"]
    if not name or is_loopback(target.hostname or "") or _excepted(environ, url):
        return ""
    _check(name, environ[name], _SPOKEN)
    return name


def proxy_url(text: str) -> str:
    """The proxy's URL; `HOST:PORT` alone is one that speaks HTTP."""
    return text.strip() if "://" in text else f"http://{text.strip()}"


def shown(text: str) -> str:
    """The proxy without user and password, for people."""
    scheme, _, rest = proxy_url(text).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}"


def _shown_wrong(text: str) -> str:
    """What may be shown of a text that is no proxy's URL: without `@` any of it may be a password.

    `http://user:password` is what is left where the host was forgotten.
    """
    scheme = proxy_url(text).partition("://")[0]
    return shown(text) if "@" in text else f"{scheme if scheme.isalnum() else ''}://…"


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: 127.0.0.0/8, ::1, localhost."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _set(environ: Mapping[str, str], name: str) -> str:
    """The name as it is set; one in lower case that is empty unsets the other."""
    name = name if name in environ else name.upper()
    return name if environ.get(name, "").strip() else ""


def _excepted(environ: Mapping[str, str], url: str) -> bool:
    """Whether `NO_PROXY` names the host: `*`, a domain, HOST:PORT, an address or a network."""
    where = urlsplit(url)
    host = where.hostname or ""
    for entry in environ.get(_set(environ, "no_proxy"), "").lower().split(","):
        name = entry.strip().removeprefix("*.").lstrip(".")
        if name in {"*", host, f"{host}:{where.port}"}:
            return True
        if name and (host.endswith(f".{name}") or _in_network(host, name)):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _check(name: str, text: str, schemes: frozenset[str]) -> None:
    url = proxy_url(text)
    try:
        parts = urlsplit(url)
        usable = (
            url.isprintable()
            and " " not in url
            and parts.scheme in schemes
            and bool(parts.hostname)
            and parts.port != 0
            and bool(httpx.URL(url).host)
        )
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{name}={quoted(_shown_wrong(text))} is not accepted: {_ACCEPTED}"
        )
