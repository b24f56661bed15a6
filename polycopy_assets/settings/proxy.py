"""The proxy that the environment names for a source: which variable, and what may be shown of it.

Read here and not by httpx, which uses a proxy for loopback addresses too, and turns a variable that
is not a URL into a traceback. Its user and password are never shown.
"""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.text import quoted

_SCHEMES = ("http", "https", "all")
_BRACKETS = re.compile(r"\[[^\[\]]*\](:[0-9]*)?")
_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_SPOKEN = frozenset({"http", "https"})
_KNOWN = _SPOKEN | {"socks4", "socks4a", "socks5", "socks5h"}
ACCEPTED = "expected http://[USER:PASSWORD@]HOST[:PORT] or https://…"


def proxy_variable(environ: Mapping[str, str], url: str) -> str:
    """The variable in `environ` that names the proxy to `url`; empty if it is reached directly.

    `HTTP_PROXY` or `HTTPS_PROXY`, by the URL's scheme, else `ALL_PROXY`; lower case takes
    precedence. Empty for loopback addresses and for hosts that `NO_PROXY` names. Raises
    ConfigurationError if any of these variables is not the URL of a proxy.
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
    """The proxy's URL; `HOST:PORT` alone means HTTP."""
    return text.strip() if "://" in text else f"http://{text.strip()}"


def shown(text: str) -> str:
    """The proxy without user and password, for people."""
    scheme, _, rest = proxy_url(text).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}"


def _shown_wrong(text: str) -> str:
    """What may be shown of an invalid proxy URL: without `@` any part may be a password.

    `http://user:password` is what remains if the host was forgotten.
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
    """The name as it is set; an empty lower-case variable unsets the upper-case one."""
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


def _is_host(place: str, host: str) -> bool:
    """Whether `host` of `place` (HOST[:PORT]) can be looked up; may raise ValueError if not."""
    if "[" in place or "]" in place:
        return bool(_BRACKETS.fullmatch(place) and ipaddress.IPv6Address(host))
    if _NUMBERS.fullmatch(host):
        return bool(ipaddress.IPv4Address(host))
    if host.isascii():
        return bool(host.encode().decode("idna") if "xn--" in host else host)
    return bool(host.encode("idna")) and all(
        label.replace("-", "").isalnum() and label == label.strip("-")
        for label in host.split(".")
        if label
    )


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
            and _is_host(parts.netloc.rpartition("@")[2], parts.hostname)
        )
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"{name}={quoted(_shown_wrong(text))} is not accepted: {ACCEPTED}")
