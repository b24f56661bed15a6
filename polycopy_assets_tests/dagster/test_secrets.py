"""The API key is nowhere, whatever fails and however it is echoed; nor is a proxy's password."""

from pathlib import Path

import pytest

from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.fakes.echoing import answers, echoing
from polycopy_assets_tests.leaks import everything, pages, traces, webserver

KEY = "sk-live/Ab+c=9&<q'\"uot%e>\\x"
QUICK = "import stamina; stamina.set_testing(True, attempts=4)"
WALLETS = [f"0x{number:040x}" for number in range(1, len(answers("")) + 3)]


@pytest.mark.files
def test_the_key_is_in_no_output_file_cell_log_tag_or_page_after_each_kind_of_failure(
    tmp_path: Path,
):
    with echoing() as (url, heard):
        deployment = Deployment(
            tmp_path,
            url,
            POLYCOPY_SOURCE="dome",
            DOME_API_KEY=f" {KEY}\n",
            POLYCOPY_TRACEBACK="1",
        )
        deployment.want(WALLETS)
        done = [
            deployment.polycopy("backfill", first=QUICK),
            deployment.polycopy("backfill", "--refresh", "--json", first=QUICK),
            deployment.polycopy("status"),
            deployment.polycopy("reconcile", "--json"),
            deployment.dagster(
                *("asset", "materialize", "-m", "polycopy_assets.definitions"),
                *("--select", "wallet_trades", "--partition", WALLETS[0]),
            ),
        ]
        assert set(heard) == {KEY}, "it was sent, stripped"
        with webserver(deployment) as ui:
            shown = list(pages(ui))
    failed = len(answers(KEY))
    assert f"{failed} failed" in done[0].stdout, done[0].stderr
    assert done[1].stdout.count("***") >= 5
    assert "***" in str(dict(shown)["assets"])
    places = [
        *((f"output of {each.args[-2:]}", each.stdout + each.stderr) for each in done),
        *shown,
        *everything(tmp_path),
    ]
    assert len(places) > 500
    found = {place: traces(KEY, text) for place, text in places}
    assert not {place: what for place, what in found.items() if what}


def test_a_key_that_is_no_header_is_refused_by_every_command_and_written_nowhere(tmp_path: Path):
    (tmp_path / "dagster").mkdir()
    for key in ("sk-first-half\nsk-other-half", "sk-“quoted-secret”"):
        deployment = Deployment(
            tmp_path, "http://127.0.0.1:9", POLYCOPY_SOURCE="dome", DOME_API_KEY=key
        )
        done = [deployment.polycopy(command) for command in ("backfill", "status", "init")]
        load = deployment.dagster("definitions", "validate", "-m", "polycopy_assets.definitions")
        for each in done:
            assert each.returncode == 2
            assert each.stderr.startswith("polycopy: DOME_API_KEY is not accepted")
            assert len(each.stderr.splitlines()) == 1
        assert load.returncode != 0
        assert "DOME_API_KEY is not accepted" in load.stdout + load.stderr
        outputs = "".join(each.stdout + each.stderr for each in (*done, load))
        assert not traces(key, outputs)
        assert not [place for place, text in everything(tmp_path) if traces(key, text)]


def test_a_password_in_an_address_is_shown_by_nothing(tmp_path: Path):
    secret = "hunter2-hunter2"
    user = f"http://me:{secret}@127.0.0.1:9"
    for name in ("POLYCOPY_SOURCE_URL", "POLYCOPY_WAREHOUSE", "POLYCOPY_STORE"):
        deployment = Deployment(tmp_path, "http://127.0.0.1:9", **{name: user})
        done = deployment.polycopy("backfill")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"polycopy: {name}")
        assert secret not in done.stderr
    # Not a loopback address: no proxy is asked for those.
    deployment = Deployment(tmp_path, "http://source.invalid", HTTP_PROXY=user)
    deployment.want(WALLETS[:1])
    done = deployment.polycopy("backfill", first=QUICK)
    assert done.returncode == 1
    assert "http://127.0.0.1:9 refuses the connection" in done.stderr
    places = [("output", done.stdout + done.stderr), *everything(tmp_path)]
    assert not [place for place, text in places if traces(secret, text)]
