"""Without a database, 10,000 wallets: a start asks for nothing; how long it takes is printed."""

import gzip
import io
import json
import time
from contextlib import redirect_stderr

import msgspec
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World, v2_row
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets_tests.deployment import Deployment, truth
from polycopy_assets_tests.of_trades import segment_name

pytestmark = pytest.mark.exhaustive

WALLETS = 10_000
DAY = 86_400


def stored(deployment: Deployment, world: World, until: int) -> None:
    """One segment a wallet, as fetches would have left them; not made durable one by one."""
    for wallet in world.wallets():
        rows = b"".join(msgspec.json.encode(v2_row(t)) + b"\n" for t in world.truth(wallet))
        name = segment_name(wallet.lower(), Interval(BEGINNING, until))
        path = deployment.root / "store" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress(rows))


def started(deployment: Deployment, *command: str) -> tuple[dict[str, int], str]:
    """What a command reports, and how its start went."""
    began, cpu = time.monotonic(), time.process_time()
    with redirect_stderr(io.StringIO()) as said:
        ended, found = deployment.here(*command, "--json")
    assert ended == 0, said.getvalue()
    (line,) = [each for each in said.getvalue().splitlines() if each.startswith("record: ")]
    print(f"{command[0]}: {line}; the command {time.monotonic() - began:.1f} s")
    print(f"  {time.process_time() - cpu:.1f} s of a processor in all")
    return json.loads(found), line


@pytest.mark.timeout(900)
def test_ten_thousand_wallets_start_without_a_request(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
):
    """From segments that nothing describes, and from a snapshot.

    The source does not answer: one request would end in a failure.
    """
    deployment.environ["POLYCOPY_INSTANCE"] = "ephemeral"
    world = generate(31, WALLETS, most_trades=3)
    stored(deployment, world, int(time.time()) - DAY)
    with capsys.disabled():
        print()
        first, line = started(deployment, "backfill")
        assert f"{WALLETS:,} from what is stored" in line
        assert (first["complete"], first["requests"]) == (WALLETS, 0)
        assert deployment.table() == truth(world)
        last, line = started(deployment, "backfill")
        assert f"{WALLETS:,} wallets from record/snapshots/" in line
        assert (last["complete"], last["requests"]) == (WALLETS, 0)
        status, _ = started(deployment, "status")
        assert (status["total"], status["complete"]) == (WALLETS, WALLETS)
    assert deployment.table() == truth(world)
