"""What the tests of the command line share: a home of their own, a cluster YAML, and a head that plays a script."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elastic_deploy.cluster.local.state import Node, Ports, State, state_dir, transaction
from elastic_deploy.model.home import private_dir

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "cluster-templates" / "local.yaml"
STAND_IN = Path(__file__).with_name("agent_stand_in.py")
CLUSTER = "stand-in"


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """Its stdout, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Script:
    """What the stand-in head answers, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._answers: dict[str, Any] = {}

    def answer(self, verb: str, *answers: list[dict[str, Any]]) -> None:
        """Give the verb's first, second, ... answers; the last repeats."""
        self._answers[verb] = list(answers)
        (self.directory / "script.json").write_text(json.dumps(self._answers))

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls so far, in order."""
        path = self.directory / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def verbs(self) -> list[str]:
        """The verbs of the calls so far."""
        return [call["verb"] for call in self.calls]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ELASTIC_DEPLOY_HOME, this test's own."""
    path = tmp_path / "home"
    monkeypatch.setenv("ELASTIC_DEPLOY_HOME", str(path))
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def cluster_yaml(tmp_path: Path, home: Path) -> Path:  # noqa: ARG001
    """The local template under a name of its own."""
    path = tmp_path / "cluster.yaml"
    text = TEMPLATE.read_text().replace("cluster_name: elastic-local", f"cluster_name: {CLUSTER}")
    path.write_text(text)
    return path


@pytest.fixture
def head(tmp_path: Path, home: Path) -> Script:  # noqa: ARG001
    """A head of that cluster which, as far as the local state tells, runs; its agent plays a script."""
    script = Script(tmp_path / "agent")
    script.directory.mkdir()
    node = Node(
        id="head-1",
        cluster=CLUSTER,
        type="head",
        is_head=True,
        tags={},
        temp_dir=str(tmp_path / "ray"),
        created_at=time.time(),
        ready_at=time.time(),
        up_since=time.time(),
    )
    with transaction(CLUSTER) as draft:
        draft.state = State(ports=Ports(1, 2, 3), temp_dir=str(tmp_path / "ray")).with_node(node)
    shell = private_dir(state_dir(CLUSTER) / "nodes" / node.id) / "shell"
    words = [sys.executable, str(STAND_IN), str(script.directory)]
    shell.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$1"\n')
    shell.chmod(0o700)
    return script


@pytest.fixture
def cli(home: Path) -> Callable[..., Finished]:  # noqa: ARG001
    """Runs the real program as scripts do: no terminal, its output captured, an end after a minute."""

    def run(*arguments: object, **environment: str) -> Finished:
        done = subprocess.run(
            command_line(*arguments),
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def command_line(*arguments: object) -> list[str]:
    """The arguments that run the program."""
    return [sys.executable, "-c", "from elastic_deploy.cli.main import main; main()", *map(str, arguments)]


def ok(**words: Any) -> dict[str, Any]:
    """A result on the wire."""
    return {"ok": words}


def error(code: int, message: str) -> dict[str, Any]:
    """An error on the wire."""
    return {"error": {"code": code, "message": message}}


def event(number: int, message: str, deployment: str | None = None, **more: Any) -> dict[str, Any]:
    """A journal event on the wire."""
    known = {"id": f"{number:06d}", "time": 1_000_000.0 + number, "kind": "test", "deployment": deployment}
    return ok(**known, replica=None, node=None, cause=None, message=message, **more)


def deployment(name: str = "tiny", phase: str = "ready", **more: Any) -> dict[str, Any]:
    """A deployment of a status document."""
    return {
        "name": name,
        "model": "tiny",
        "phase": phase,
        "reason": f"{name} is {phase}, the script says.",
        "endpoint": "http://127.0.0.1:8499/v1",
        "api_key_file": "",
        "gpus": {"requested": 2, "placed": 2 if phase == "ready" else 0},
        "shape": {"tensor_parallel": 2, "pipeline_parallel": 1, "replicas": 1},
        "replicas": [],
        "recoveries": [],
        "failure": None,
        **more,
    }


def status(*deployments: dict[str, Any]) -> list[dict[str, Any]]:
    """An answer to `status`."""
    node = {"id": "head-1", "type": "head", "state": "joined", "gpus": 0, "since": 1_000_000.0, "detail": "head"}
    return [
        ok(
            cluster={"name": CLUSTER, "provider": "local", "head_address": "127.0.0.1:1", "nodes": [node]},
            request={"bundles": [{"resources": {"GPU": 1.0}, "count": 2}], "sent_at": 1_000_000.0},
            deployments=list(deployments),
        )
    ]
