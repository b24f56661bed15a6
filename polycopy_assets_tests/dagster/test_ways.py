"""The way to the source from outside: said once, through a proxy, and past one on loopback."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import stamina

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, sample_api, truth
from polycopy_assets_tests.fakes.forward_proxy import PASSWORD, USER, forward_proxy

ELSEWHERE = "http://sample.invalid"
"""A source that no name server knows: only a proxy leads there."""

WALLETS = [f"0x{number:040x}" for number in range(1, 301)]


@pytest.fixture
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def logged(instance: dg.DagsterInstance) -> str:
    """What the logs of all runs say to people."""
    return "\n".join(
        entry.user_message for run in instance.get_runs() for entry in instance.all_logs(run.run_id)
    )


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (ELSEWHERE, "the name sample.invalid cannot be resolved: "),
        ("http://127.0.0.1:9", "http://127.0.0.1:9 refuses the connection"),
        ("https://127.0.0.1:9", "https://127.0.0.1:9 refuses the connection"),
    ],
)
def test_a_source_that_cannot_be_reached_is_said_once_and_not_once_a_wallet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], url: str, sentence: str
):
    deployment = Deployment(tmp_path, url)
    deployment.want(WALLETS)
    code, said = deployment.here("backfill")
    shown = said + capfd.readouterr().err
    assert code == 1
    assert shown.count(sentence) == 1, shown
    assert "300 wallets, the first " in shown
    with deployment.instance() as instance:
        log = logged(instance)
    # A line when it is known, and the failure with which the run ends.
    assert 1 <= log.count(sentence) <= 3, log


@pytest.mark.usefixtures("no_waits")
def test_a_source_that_goes_away_in_the_middle_is_given_up_at_once(tmp_path: Path):
    world = generate(81, 60, whales=0, most_trades=5)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, ELSEWHERE, POLYCOPY_CONCURRENCY="2")
        deployment.want(world.wallets())
        with forward_proxy(served.url) as proxy:
            proxy.ends_after = 20
            deployment.environ["HTTP_PROXY"] = proxy.url
            report = deployment.backfill()
    reasons = {each.reason for each in report.failures}
    assert report.complete > 5
    assert len(reasons) <= 2, reasons
    tried = [each for each in report.failures if not each.reason.startswith("not tried")]
    assert 1 <= len(tried) <= 2


def test_the_source_is_reached_through_a_proxy_whose_password_is_nowhere(tmp_path: Path):
    world = generate(82, 4, whales=0, most_trades=5)
    with sample_api(world) as served, forward_proxy(served.url) as proxy:
        deployment = Deployment(tmp_path, ELSEWHERE, HTTP_PROXY=proxy.url)
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill")
        assert done.returncode == 0, done.stderr
        assert deployment.table() == truth(world)
        assert proxy.asked
        wrong = proxy.url.replace(PASSWORD, "wrong-password")
        first = "import stamina; stamina.set_testing(True, attempts=2)"
        refused = deployment.polycopy(
            "backfill", "--refresh", environ={"HTTP_PROXY": wrong}, first=first
        )
    assert refused.returncode == 1
    assert refused.stderr.count(f"the proxy http://{proxy.address} does not let us through") == 1
    output = done.stdout + done.stderr + refused.stdout + refused.stderr
    for secret in (PASSWORD, "wrong-password", USER):
        assert secret not in output
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_a_source_on_loopback_is_reached_past_a_proxy(deployed: Deployed):
    world = generate(83, 3, whales=0, most_trades=5)
    with deployed(world) as (deployment, _):
        deployment.environ |= dict.fromkeys(("HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        deployment.want(world.wallets())
        assert deployment.backfill().failures == []
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("text", ["http://u:secret@[::1", "http://secret@h:99999", "foo://bar"])
def test_a_proxy_that_is_no_url_is_one_line_and_exit_2(deployment: Deployment, text: str):
    done = deployment.polycopy("status", environ={"HTTPS_PROXY": text})
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("polycopy: HTTPS_PROXY='")
    assert "expected http://[USER:PASSWORD@]HOST[:PORT]" in line
    assert "secret" not in line
