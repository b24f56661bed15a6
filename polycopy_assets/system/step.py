"""What a process is doing, for people who watch it."""

import msgspec


class Step(msgspec.Struct):
    """One piece of work with a name, other than fetching; no name: there is none.

    `done` of `total` parts are done; `total` is 0 if unknown. `counted` says that the line counts
    them.
    """

    name: str = ""
    done: int = 0
    total: int = 0
    counted: bool = False

    def begin(self, name: str, total: int = 0) -> None:
        """Starts a step whose parts are counted; an empty name ends it."""
        self.name, self.done, self.total, self.counted = name, 0, total, True

    def end(self) -> None:
        """Nothing is under way any more."""
        self.begin("")

    def part(self, name: str, number: int, total: int) -> None:
        """Starts part `number`, from 1, of `total`; `name` is all that the line says."""
        self.name, self.done, self.total, self.counted = name, number - 1, total, False

    def follow(self, other: "Step") -> None:
        """Shows what another thread's step shows at this moment."""
        self.name, self.done = other.name, other.done
        self.total, self.counted = other.total, other.counted

    def line(self) -> str:
        """The step in a few words."""
        if not self.counted or not (self.done or self.total):
            return self.name
        total = f"/{self.total:,}" if self.total else ""
        return f"{self.name}: {self.done:,}{total}"
