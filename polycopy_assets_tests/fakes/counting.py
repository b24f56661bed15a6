"""A store that counts what is read from it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polycopy_assets_tests.of_trades import Directory


class CountingStore(Directory):
    """`reads` counts the reads of each object, by name."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.reads: Counter[str] = Counter()

    def read(self, name: str) -> bytes:
        """The object's bytes."""
        self.reads[name] += 1
        return super().read(name)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The object's own file."""
        self.reads[name] += 1
        with super().local(name) as path:
            yield path

    def below(self, prefix: str) -> Counter[str]:
        """The reads of objects below `prefix`."""
        return Counter({name: n for name, n in self.reads.items() if name.startswith(prefix)})
