"""BigQuery's errors as ours: one line, with the quota, the cap or the buffer that it is about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from polycopy_assets.errors import QuotaExceeded, WarehouseError
from polycopy_assets.system.google_quota import explain
from polycopy_assets.text import MESSAGE, said_by

_STATUS = {"quotaExceeded": 403, "rateLimitExceeded": 403, "accessDenied": 403, "notFound": 404}
_FAILURES = (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException)


def ended_in(error: Mapping[str, Any]) -> exceptions.GoogleAPICallError:
    """The exception for the `errorResult` of a job."""
    return exceptions.from_http_status(
        _STATUS.get(str(error.get("reason")), 400), str(error.get("message")), errors=[error]
    )


@contextmanager
def failing(
    what: str, keep: type[BaseException] | tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    """Turns Google's exceptions into ours, except those of the kinds `keep`."""
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, keep):
            raise
        raise translated(what, error) from error


def translated(what: str, error: BaseException) -> WarehouseError:
    """Our error for one of Google's: one line, with the quota if it is about one."""
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        return translated(f"{what}, all retries failed", error.cause)
    reason, message = reason_of(error), _message(error)
    if reason == "bytesBilledLimitExceeded":
        return WarehouseError(
            f"{what}: {message} (the cap is POLYCOPY_MAX_BYTES_BILLED; nothing was billed)"
        )
    if "streaming buffer" in message:
        return WarehouseError(
            f"{what}: {message} (rows that were streamed cannot be changed for up to 90 minutes:"
            " wait, and do it again)"
        )
    used_up = explain(reason, message)
    if used_up is not None:
        return QuotaExceeded(f"{what}: {used_up}. Google says: {message}")
    return WarehouseError(f"{what}: {message}")


def reason_of(error: BaseException) -> str:
    """BigQuery's own word for what went wrong, e.g. `quotaExceeded`; empty if it gave none."""
    errors: Any = getattr(error, "errors", None) or [{}]
    return str(errors[0].get("reason", "")) if isinstance(errors[0], dict) else ""


def _message(error: BaseException) -> str:
    if isinstance(error, exceptions.GoogleAPICallError):
        text = f"{error.code} {error.message}"
    else:
        text = f"{type(error).__name__}: {error}"
    return said_by(text, MESSAGE)
