"""Dagster's pages as a person uses them, in headless Chromium."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = Path(__file__).parents[2] / ".browser"
LONG = 120_000
"""Milliseconds that a page may take to show what a run brought."""


class Pages:
    """One browser tab on Dagster's UI; `shot` keeps what it shows as a picture."""

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self._url = url
        self._pictures = pictures

    def go(self, path: str) -> None:
        """Opens a page."""
        self.page.goto(f"{self._url}{path}")

    def shot(self, name: str) -> None:
        """Keeps a picture of the page, once it has stopped moving."""
        self.page.wait_for_timeout(1_500)
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._pictures / f"{name}.png")

    def picture(self, key: str, name: str) -> None:
        """Opens the picture that stands in the metadata under `key`, and keeps it."""
        row = self.page.locator("tr").filter(has_text=key)
        row.get_by_text("[Show Markdown]").click(timeout=LONG)
        self.page.locator("img[src^='data:image/png']").wait_for(timeout=LONG)
        self.shot(name)

    def turn_on(self, sensor: str) -> None:
        """Turns a sensor on, on the page of all automation."""
        self.go("/automation")
        row = self.page.locator("[data-index]").filter(has_text=sensor)
        row.locator("label").nth(1).click(timeout=LONG)

    def partitions(self) -> dict[str, int]:
        """How many partitions of `wallet_trades` are in which state, as the page says."""
        self.go("/assets/wallet_trades?view=partitions")
        counts = {}
        for state in ("Failed", "Materialized", "Missing"):
            label = self.page.get_by_text(f"{state} (", exact=False).first
            label.wait_for(timeout=LONG)
            counts[state] = int((label.inner_text()).split("(")[1].rstrip(")").replace(",", ""))
        return counts

    def overview(self) -> None:
        """Opens the page of `wallet_trades`, and waits until it shows the latest record."""
        self.go("/assets/wallet_trades?view=overview")
        self.page.get_by_text("Latest materialization").first.wait_for(timeout=LONG)

    def materialize(self, choice: str) -> None:
        """Launches a backfill of `All`, `Failed`, or `Failed and missing` partitions."""
        self.go("/assets/wallet_trades?view=partitions")
        self.page.get_by_role("button", name="Materialize").first.click(timeout=LONG)
        self.page.get_by_role("button", name=choice, exact=True).click(timeout=LONG)
        self.page.wait_for_timeout(500)

    def choose(self, partitions: Sequence[str]) -> None:
        """Opens the dialog of a backfill of `wallet_trades` with these partitions chosen."""
        self.go("/assets/wallet_trades?view=partitions")
        self.page.get_by_role("button", name="Materialize").first.click(timeout=LONG)
        self.page.get_by_role("button", name="Custom", exact=True).click(timeout=LONG)
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text(re.compile("partitions selected$")).first.click(timeout=LONG)
        # All are chosen at first, also under `Custom`; this chooses none.
        self.page.locator("label").filter(has_text="Select all").click(timeout=LONG)
        for partition in partitions:
            self.page.get_by_placeholder("Filter partitions", exact=True).fill(partition)
            # The list shows the beginning and the end of an address.
            self.page.locator("label").filter(has_text=partition[:8]).click(timeout=LONG)
        self.page.keyboard.press("Escape")

    def open_partition(self, wallet: str) -> None:
        """Opens a partition of the page of all partitions."""
        self.page.get_by_placeholder("Filter by name…").fill(wallet)
        begins = re.compile(f"^{wallet[:8]}")
        self.page.locator("span").filter(has_text=begins).first.click(timeout=LONG)

    def open_history(self, wallet: str) -> None:
        """From a partition to its latest event, opened to what was noted."""
        self.page.get_by_role("button", name=re.compile("View all historical events")).click()
        self.page.get_by_role("cell", name=wallet).last.click(timeout=LONG)

    def launch_job(self, job: str, config: str) -> None:
        """Launches a job from its launchpad, with `config` written into it; shows the run."""
        self.open_launchpad(job).click(timeout=LONG)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(config)
        self.launch_run()

    def open_launchpad(self, job: str) -> Locator:
        """Opens the launchpad of a job; its configuration."""
        self.go(f"/locations/polycopy_assets.definitions/jobs/{job}/playground")
        return self.page.locator(".CodeMirror").first

    def launch_run(self) -> None:
        """Launches what the launchpad has; shows the run."""
        self.page.get_by_role("button", name="Launch run").click(timeout=LONG)

    def launch(self) -> None:
        """Launches what the dialog has chosen."""
        self.page.get_by_role("button", name="Launch backfill").click()
        expect(self.page.get_by_role("button", name="Launch backfill")).to_have_count(
            0, timeout=LONG
        )


@contextmanager
def browser(url: str, pictures: Path) -> Iterator[Pages]:
    """Headless Chromium, as Debian has it, on Dagster's UI at `url`."""
    assert CHROMIUM, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        try:
            page = chromium.new_page(viewport={"width": 1_400, "height": 900})
            page.set_default_timeout(30_000)
            yield Pages(page, url, pictures)
        finally:
            chromium.close()
