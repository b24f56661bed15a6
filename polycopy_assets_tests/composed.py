"""The services of `deploy/compose.yaml` as processes of this machine, without containers.

Each has the command and the environment of its container. What differs is listed in `Composed`:
loopback and free ports for the names and ports of the containers' network, a directory for the
volume, a Postgres that runs already for the service `postgres`.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from polycopy_assets_tests.dev import ROOT, free_port, processes, wait_for

COMPOSE = ROOT / "deploy" / "compose.yaml"
WORKSPACE = ROOT / "deploy" / "workspace.yaml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_HEALTHY_SECONDS = 90


def services(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of the file, with the variables of `environ` put in, as compose does.

    Raises KeyError with the file's own message if a variable that it requires is not set.
    """

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if environ.get(name):
            return environ[name]
        if kind == "-":
            return rest
        raise KeyError(rest or name)

    lines = COMPOSE.read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return yaml.safe_load(_VARIABLE.sub(value, text))["services"]


def in_order(every: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The services' names, each after those that it depends on."""
    done: list[str] = []
    while len(done) < len(every):
        ready = [
            name
            for name, service in every.items()
            if name not in done and set(service.get("depends_on", ())) <= set(done)
        ]
        assert ready, "services wait for each other"
        done += ready
    return done


class Composed:
    """Starts the services below `root`, with `environ` where compose runs; `database` is theirs."""

    def __init__(self, root: Path, database: str, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.services = services(self.environ)
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        self.ports = {"4000": str(free_port()), "3000": str(free_port())}
        self.url = f"http://127.0.0.1:{self.ports['3000']}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._root = root
        self._here = {
            "@postgres:5432/polycopy": "@" + database.rpartition("@")[2],
            "/opt/polycopy/workspace.yaml": str(self._workspace()),
            "/scratch": str(self.scratch),
            "0.0.0.0": "127.0.0.1",
            **self.ports,
        }

    def _workspace(self) -> Path:
        """The image's workspace with the code server's place on this machine."""
        written = yaml.safe_load(WORKSPACE.read_text())
        server = written["load_from"][0]["grpc_server"]
        assert server["host"] in self.services
        server["host"], server["port"] = "127.0.0.1", int(self.ports[str(server["port"])])
        path = self._root / "workspace.yaml"
        path.write_text(yaml.safe_dump(written))
        return path

    def translated(self, text: str) -> str:
        """What a container's text is on this machine."""
        for there, here in self._here.items():
            if there.isdigit():
                text = here if text == there else text
            else:
                text = text.replace(there, here)
        return text

    def environ_of(self, name: str) -> dict[str, str]:
        """The environment of a service's process."""
        own = {}
        for key, value in self.services[name].get("environment", {}).items():
            given = self.environ.get(key) if value is None else str(value)
            if given is not None:
                own[key] = self.translated(given)
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "POLYCOPY_MEMORY": "384",
            **own,
        }

    def log(self, name: str) -> Path:
        """What a service wrote."""
        return self._root / f"{name}.log"

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Starts a service in a process group of its own."""
        with self.log(name).open("ab") as log:
            started = subprocess.Popen(
                [self.translated(word) for word in self.services[name]["command"]],
                env=self.environ_of(name),
                cwd=self.scratch,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[name] = started
        return started

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says; raises if its process has ended."""
        code = self.running[name].poll()
        assert code is None, f"{name} ended with {code}: {self.log(name).read_text()[-2000:]}"
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD", shlex.join(command)
        return (
            subprocess.run(
                [self.translated(word) for word in command],
                env=self.environ_of(name),
                cwd=self.scratch,
                capture_output=True,
                timeout=60,
                check=False,
            ).returncode
            == 0
        )

    def up(self) -> None:
        """Starts all services but Postgres, each when those it depends on are ready."""
        for name in in_order(self.services):
            if name == "postgres":
                continue
            process = self.start(name)
            if self.services[name]["restart"] == "no":
                assert process.wait(_HEALTHY_SECONDS) == 0, self.log(name).read_text()
            elif "healthcheck" in self.services[name]:
                wait_for(lambda name=name: self.is_healthy(name), _HEALTHY_SECONDS, name)

    def down(self) -> None:
        """Stops the services as compose does: SIGTERM, and SIGKILL for what is left."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            for pid in processes(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(10)


@contextmanager
def composed(root: Path, database: str, environ: Mapping[str, str]) -> Iterator[Composed]:
    """The services of the file, up until the end of the context."""
    each = Composed(root, database, environ)
    try:
        each.up()
        yield each
    finally:
        each.down()
