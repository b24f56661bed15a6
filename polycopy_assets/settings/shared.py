"""`POLYCOPY_SHARED`: who may read the files that polycopy creates."""

from collections.abc import Mapping
from typing import Literal, get_args

SHARED = "POLYCOPY_SHARED"
Shared = Literal["no", "group", "all"]
WORDS: tuple[Shared, ...] = get_args(Shared)
UMASKS: Mapping[str, int] = {"no": 0o077, "group": 0o007, "all": 0o002}
PRIVATE = UMASKS["no"]


def umask_in(environ: Mapping[str, str]) -> int:
    """The umask for new files; an unknown word shares nothing."""
    return UMASKS.get(environ.get(SHARED) or "no", PRIVATE)
