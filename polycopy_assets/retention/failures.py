"""What a maintenance could not delete or shrink: nothing passes silently."""

from polycopy_assets.text import EXCERPT, NAME, one_line, said_by


class Failures:
    """What could not be deleted or shrunk, and why; each thing counts once."""

    def __init__(self) -> None:
        self._reasons: dict[str, Exception] = {}

    def add(self, what: object, error: Exception) -> None:
        """Notes that `what` was left because of `error`."""
        self._reasons.setdefault(str(what), error)

    def __len__(self) -> int:
        """How many things were left."""
        return len(self._reasons)

    @property
    def first(self) -> str:
        """The first of them, with its reason; empty if there is none."""
        for what, error in self._reasons.items():
            return f"{one_line(what, EXCERPT)}: {_reason(error)}"
        return ""


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which is named anyway
    name = one_line(type(error).__name__, NAME)
    said = said_by(error)
    return f"{name}: {said}" if said else name
