"""The demo with both feeds: ledgers whose trades are those of the other feed, and their markets."""

import os
import re
import signal
import subprocess
import sys

from polycopy_assets.checks.witness_of_activity import agreement_of_feeds
from polycopy_assets_tests.deployment import Deployment

SMALL = """
from polycopy_assets.__main__ import main
from polycopy_assets.cli import demo_world
demo_world.WHALE_TRADES = 1_500
main()
"""
"""The demo with a smaller whale."""


def test_the_demo_loads_both_feeds_and_goes_on_serving_their_markets(deployment: Deployment):
    deployment.environ["POLYCOPY_FEEDS"] = "trades,activity"
    command = [sys.executable, "-c", SMALL, "demo", "--serve"]
    with subprocess.Popen(
        command,
        env={**deployment.process_environ(), "PYTHONUNBUFFERED": "1"},
        cwd=deployment.root,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            assert demo.stdout
            said = ""
            while "POLYCOPY_SOURCE_URL=" not in said:
                line = demo.stdout.readline()
                assert line, said
                said += line
            assert "THEY DIFFER" not in said
            assert re.search(r"24 sample wallets, [\d,]+ trades served", said)
            assert re.search(r"24 sample wallets, [\d,]+ rows of activity served", said)
            found = re.search(r"POLYCOPY_SOURCE_URL=(\S+)", said)
            assert found
            deployment.environ["POLYCOPY_SOURCE_URL"] = found[1]
            deployment.environ["POLYCOPY_MARKETS_URL"] = found[1]
            code, told = deployment.here("markets", "--json")
            assert code == 0
            assert '"unknown": 0, "refused": 0' in told
        finally:
            os.kill(demo.pid, signal.SIGINT)
    assert demo.returncode == 0
    kinds = dict(deployment.rows("SELECT type, COUNT(*) FROM {}activity GROUP BY 1"))
    assert {"TRADE", "SPLIT", "MERGE", "REDEEM", "CONVERSION", "DEPOSIT"} <= kinds.keys()
    trades = "(SELECT DISTINCT condition_id FROM {}trades)"
    alone = deployment.rows(
        f"SELECT COUNT(*), COUNT(t.token_id) FROM {{}}activity a"
        " LEFT JOIN {}tokens t ON t.token_id = a.token_id AND t.valid_until IS NULL"
        f" WHERE a.token_id IS NOT NULL AND a.condition_id NOT IN {trades}"
    )
    ((rows, named),) = alone
    assert rows == named > 0, "combos have tokens too"
    with deployment.instance() as instance:
        agreed = agreement_of_feeds(instance, deployment.store.whole, deployment.warehouse)
    assert (agreed.passed, agreed.description) == (True, "24 wallets agree")
    assert agreed.metadata["combos"].value
