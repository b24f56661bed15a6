"""How many requests the sample API answers in a time; the others get 429."""

import threading
from collections import Counter, deque
from collections.abc import Mapping

GAMMA = "/markets"
"""What the paths of the other host begin with; all of the sample API's hosts are one server."""


class Limits:
    """Budgets by what a path begins with: (requests, seconds), sliding windows; thread-safe.

    A request counts in every budget that its path falls under, so `/v2/` is a host, `/v2/tokens` a
    route and "" all there is. One that exceeds any of them is refused, and counts in none.
    """

    def __init__(self, budgets: Mapping[str, tuple[int, float]]) -> None:
        self._lock = threading.Lock()
        self.budgets = dict(budgets)
        self.refused: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {}

    def exceeded(self, path: str, moment: float) -> bool:
        """Whether a request at `moment` (monotonic seconds) is one too many; counts it if not."""
        with self._lock:
            windows: list[deque[float]] = []
            for prefix, (requests, seconds) in self.budgets.items():
                if not path.startswith(prefix):
                    continue
                recent = self._recent.setdefault(prefix, deque())
                while recent and recent[0] <= moment - seconds:
                    recent.popleft()
                if len(recent) >= requests:
                    self.refused[prefix] += 1
                    return True
                windows.append(recent)
            for recent in windows:
                recent.append(moment)
            return False
