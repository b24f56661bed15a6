"""Each `gcloud` command in the docs, as `gcloud` reads it: without an account it stops there."""

import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polycopy_assets_tests.dev import ROOT

PAGES = ("deployment.md", "google-cloud.md")
VALUES = {
    "PROJECT": "my-project",
    "BUCKET": "my-bucket",
    "LOCATION": "US",
    "RUN": "polycopy-run@my-project.iam.gserviceaccount.com",
    "SCHEDULE": "polycopy-schedule@my-project.iam.gserviceaccount.com",
    "PASSWORD": "secret",
}
REFUSED = re.compile(r"unrecognized arg|Invalid choice|must be specified|expected one argument")
NO_ACCOUNT = "do not currently have an active account"


def commands() -> list[str]:
    """The commands of all blocks of shell; what comes after `|`, `&&` or `#` is another one's."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            found += [part.strip() for line in lines for part in re.split(r"\||&&|  #", line)]
    return [each for each in dict.fromkeys(found) if each.startswith("gcloud ")]


def arguments(command: str) -> list[str]:
    return shlex.split(re.sub(r"\$\{?(\w+)\}?", lambda found: VALUES[found[1]], command))


def said(command: list[str], folder: Path) -> str:
    """What it says without an account, a configuration or a way out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDSDK_")}
    environ = {
        **kept,
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_PROJECT": "my-project",
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": "9",
    }
    ended = subprocess.run(
        command,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.stdout + ended.stderr


def test_the_docs_have_commands():
    assert len(commands()) > 20
    assert ["gcloud", "config", "set", "project", "my-project"] in map(arguments, commands())


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_knows_each_command_and_option_in_the_docs(tmp_path: Path):
    (tmp_path / "condition.json").write_text("{}")
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    asked = [arguments(each) for each in commands() if not re.match(r"gcloud (auth|config) ", each)]
    wrong = [*asked[0], "--no-such-option"]
    with ThreadPoolExecutor(2) as threads:
        *answers, refused = threads.map(lambda each: said(each, tmp_path), [*asked, wrong])
    assert REFUSED.search(refused), refused
    for command, answer in zip(asked, answers, strict=True):
        assert not REFUSED.search(answer), f"{command}: {answer}"
        # A component that this installation lacks is named instead.
        assert NO_ACCOUNT in answer or "component" in answer, f"{command}: {answer}"
