"""`POLYCOPY_INSTANCE`: where Dagster keeps its record, if not in files of DAGSTER_HOME.

It is the URL of a Postgres database, `sqlite` for the files, or `ephemeral`: then nothing keeps the
record, and each command rebuilds it from the store.

The URL holds a password: it stays in the environment, and no message shows any part of it but the
name of the variable. What is accepted here is read in the same way by SQLAlchemy and by libpq.
"""

import re
from collections.abc import Mapping
from typing import Literal, get_args
from urllib.parse import unquote

from polycopy_assets.errors import ConfigurationError

INSTANCE = "POLYCOPY_INSTANCE"
EPHEMERAL, SQLITE = "ephemeral", "sqlite"
InstanceKind = Literal["files", "postgres", "ephemeral"]
KINDS: tuple[InstanceKind, ...] = get_args(InstanceKind)
_DRIVER = "postgresql+psycopg2"
_WORD = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    r"(?P<scheme>postgresql(?:\+psycopg2)?)://"
    rf"(?:{_WORD}+(?::(?P<password>{_WORD}*))?@)?"
    r"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"/[A-Za-z0-9._$-]+"
    rf"(?:\?(?:{_WORD}|[/:@])*)?"
)
_IN_QUERY = re.compile(r"[?&](?:password|sslpassword)=([^&]*)")


def instance_kind(environ: Mapping[str, str]) -> InstanceKind:
    """Where Dagster's record is kept: in files of DAGSTER_HOME, in Postgres, or nowhere.

    Raises ConfigurationError, which does not show the value, if it is neither the URL of a database
    nor `sqlite` or `ephemeral`.
    """
    if environ.get(INSTANCE) == EPHEMERAL:
        return "ephemeral"
    url = database_url(environ)
    if not url:
        return "files"
    if not _URL.fullmatch(url):
        raise ConfigurationError(
            "POLYCOPY_INSTANCE is not accepted (its value is not shown: it may hold a password):"
            " expected postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE[?OPTION=VALUE],"
            " `sqlite` or `ephemeral`; write special characters in a password as %XX (@ is %40, /"
            f" is %2F, # is %23, % is %25){_hint(url)}"
        )
    return "postgres"


def _hint(url: str) -> str:
    """What may be wrong with a URL, without any part of it."""
    if url != url.strip():
        return ". It begins or ends with white space: was it stored with a line's end?"
    if url.startswith("postgres://"):
        return ". It begins with postgres://: write postgresql://"
    return ""


def database_url(environ: Mapping[str, str]) -> str:
    """The URL of the database, unchecked; empty if none is named."""
    value = environ.get(INSTANCE) or ""
    return "" if value in {EPHEMERAL, SQLITE} else value


def with_driver(url: str) -> str:
    """The URL with the driver that is installed: SQLAlchemy's default depends on its version."""
    scheme, _, rest = url.partition("://")
    return f"{_DRIVER}://{rest}" if scheme in {"postgres", "postgresql"} else url


def masked(text: str, environ: Mapping[str, str]) -> str:
    """`text` without the password of `POLYCOPY_INSTANCE`, as it is written or as it is meant."""
    url = environ.get(INSTANCE) or ""
    found = _URL.fullmatch(url)
    secrets = [*_IN_QUERY.findall(url), (found and found["password"]) or ""]
    for secret in filter(None, secrets):
        for spelling in {secret, unquote(secret)}:
            text = text.replace(spelling, "…")
    return text
