"""Checks settings that go into requests; no error shows what may be a secret."""

import re
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.text import quoted, said_by

API_KEY = "DOME_API_KEY"


def clean_key(key: str) -> str:
    """The API key without white space around it.

    Raises ConfigurationError, which does not show the key, if it cannot be sent in a header.
    """
    clean = key.strip()
    for number, character in enumerate(clean, start=1):
        if not " " <= character <= "~":
            raise ConfigurationError(
                f"{API_KEY} is not accepted: character {number} of {len(clean)} is"
                f" {_kind(character)}, which cannot stand in an HTTP header"
            )
    return clean


def _kind(character: str) -> str:
    if character in "\r\n":
        return "a line break"
    return "a control character" if character.isascii() else "not ASCII"


def shown_url(text: str) -> str:
    """What may be shown of a URL: scheme, host and path."""
    if "@" in text:
        # In a malformed address, any part may be the password.
        return f"{text.partition('://')[0]}://…" if "://" in text else "…"
    return re.sub(r"(?<=[?#]).*", "…", text, count=1, flags=re.DOTALL)


def refuse_credentials(name: str, url: str) -> None:
    """Raises ConfigurationError if `url` holds a user or a password, without showing them."""
    if "@" in urlsplit(url).netloc:
        raise ConfigurationError(
            f"{name} is not accepted: it holds a user or a password, which would be seen in the UI"
            f" and in every failure: expected {urlsplit(url).scheme}://HOST[:PORT][/PATH], and"
            f" a key in {API_KEY}"
        )


def check_certificates(environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError if SSL_CERT_FILE is set and holds no certificates."""
    certificates = environ.get("SSL_CERT_FILE")
    if certificates:
        try:
            ssl.create_default_context(cafile=certificates)
        except OSError as error:  # includes SSLError: the file holds something else
            raise ConfigurationError(
                f"SSL_CERT_FILE={quoted(certificates)} is not accepted: {said_by(error)}"
            ) from error
