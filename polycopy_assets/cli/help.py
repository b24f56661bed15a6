"""The end of a command's help: examples, and where its page of the documentation is."""

import site
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

_INSTALLED = "share/doc/polycopy-assets"
"""Where a wheel puts the documentation, below the environment's directory."""

_PAGE = "docs/operations.md"


class Documented(click.Command):
    """A command whose help ends with `examples`, and names `page` of the documentation."""

    def __init__(
        self, *args: Any, examples: Sequence[str] = (), page: str = _PAGE, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.examples = tuple(examples)
        self._page = page

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples and the page, each on a line of its own, which is never wrapped."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
        formatter.write(f"\nDocumentation:\n  {document(self._page)}\n")


def document(page: str) -> str:
    """The file of a page: in the checkout, or where a wheel has put it; else its name."""
    roots = (
        Path(__file__).parents[2],
        Path(sys.prefix) / _INSTALLED,
        Path(site.getuserbase()) / _INSTALLED,
    )
    found = next((root / page for root in roots if (root / page).is_file()), None)
    return str(found) if found else f"{page} of the source distribution"
