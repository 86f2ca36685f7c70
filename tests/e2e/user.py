"""A user of one cluster on this machine: runs commands, asks the model, ends processes by their ids."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from elastic_deploy.cluster.local.processes import find
from elastic_deploy.cluster.local.state import live_nodes
from elastic_deploy.model.names import ENGINE_MARK

ENGINE_START = 300.0
"""Seconds within which an engine is up on a busy machine with two cores; 45 on an idle one."""


@dataclass(frozen=True)
class User:
    """`home` is ELASTIC_DEPLOY_HOME of every command; `memory_before`, the shared memory there was before them."""

    path: Path
    cluster: str
    home: Path
    port: int
    memory_before: frozenset[str]

    def run(self, *arguments: str, limit: float = ENGINE_START) -> subprocess.CompletedProcess[str]:
        """One command, as a process of its own, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "elastic_deploy", *arguments],
            capture_output=True,
            text=True,
            timeout=limit,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "ELASTIC_DEPLOY_HOME": str(self.home)},
        )

    def done(self, *arguments: str, limit: float = ENGINE_START) -> str:
        """The output of a command that has to succeed."""
        result = self.run(*arguments, limit=limit)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def up(self, *arguments: str, limit: float = ENGINE_START) -> subprocess.CompletedProcess[str]:
        """`up` of the tiny model over two nodes."""
        sizes = ("--gpus", "2", "--tensor-parallel-size", "2", "--port", str(self.port))
        return self.run("up", str(self.path), "--model", "tiny", *sizes, *arguments, limit=limit)

    def status(self) -> dict[str, Any]:
        """The status document."""
        document: dict[str, Any] = json.loads(self.done("status", str(self.path), "-o", "json", limit=60))
        return document

    def deployment(self, name: str = "tiny") -> dict[str, Any]:
        """One deployment's part of it."""
        return next(d for d in self.status()["deployments"] if d["name"] == name)

    def events(self) -> list[dict[str, Any]]:
        """The journal."""
        document: list[dict[str, Any]] = json.loads(self.done("events", str(self.path), "-o", "json", limit=60))
        return document

    def until(self, what: str, holds: Callable[[], bool], limit: float = ENGINE_START) -> float:
        """Wait until something holds, and say how many seconds that took."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < limit, f"not within {limit:g} s: {what}"
            time.sleep(0.5)
        return time.monotonic() - began

    def recovered(self, since: int) -> dict[str, Any]:
        """Wait until one more than `since` recoveries is listed and the deployment serves; that recovery."""

        def holds() -> bool:
            now = self.deployment()
            assert now["phase"] != "failed", now["reason"]
            return len(now["recoveries"]) > since and now["phase"] == "ready"

        self.until("the deployment serves again", holds)
        recovery: dict[str, Any] = self.deployment()["recoveries"][-1]
        return recovery

    @property
    def key(self) -> str:
        """The key that clients show."""
        return Path(self.deployment()["api_key_file"]).read_text().strip()

    def request(self, path: str, body: dict[str, Any], key: str) -> urllib.request.Request:
        """A request to the endpoint."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        return urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), headers)

    def chat(self, question: str) -> str:
        """One chat completion's text."""
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 32,
            "temperature": 0,
        }
        with urllib.request.urlopen(self.request("/v1/chat/completions", body, self.key), timeout=60) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])

    def stream(self, prompt: str, tokens: int) -> str:
        """The text of a streamed completion, once it has ended well."""
        body = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
        request = self.request("/v1/completions", body | {"stream": True}, self.key)
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = [line[6:].strip() for line in answer if line.startswith(b"data: ")]
        assert data[-1] == b"[DONE]", data[-1]
        return "".join(json.loads(chunk)["choices"][0]["text"] for chunk in data[:-1])

    def processes(self) -> list[psutil.Process]:
        """Every process of the cluster's nodes, by the nodes' marks."""
        found = [pid.pid for node in live_nodes_of(self) for pid in find(node.mark, node.sessions)]
        return [psutil.Process(pid) for pid in found if psutil.pid_exists(pid)]

    def engine_processes(self) -> list[psutil.Process]:
        """Every process that carries the mark of this cluster's engines."""
        marked = []
        for process in self.processes():
            with suppress(psutil.Error):
                if ENGINE_MARK in process.environ():
                    marked.append(process)
        return marked

    def all_titled(self, title: str) -> list[psutil.Process]:
        """The processes of the cluster whose command line has `title` in it."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if title in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def titled(self, title: str) -> psutil.Process:
        """The one process of the cluster whose command line has `title` in it."""
        found = self.all_titled(title)
        assert len(found) == 1, f"{title}: {found}"
        return found[0]

    def raylet_of_a_worker(self, node_type: str = "gpu") -> psutil.Process:
        """The raylet of a node of a type that begins so and is not the one of the engine's server."""
        serving = {p.ppid() for p in self.engine_processes() if "Engine" in " ".join(p.cmdline())}
        for node in live_nodes_of(self):
            if node.is_head or not node.type.startswith(node_type):
                continue
            for process, name in find(node.mark, node.sessions).items():
                if name == "raylet" and process.pid not in serving:
                    return psutil.Process(process.pid)
        raise AssertionError("no such node")


def live_nodes_of(user: User) -> Any:
    """The nodes that live now, read with the user's home."""
    before = os.environ.get("ELASTIC_DEPLOY_HOME")
    os.environ["ELASTIC_DEPLOY_HOME"] = str(user.home)
    try:
        return live_nodes(user.cluster)
    finally:
        if before is None:
            del os.environ["ELASTIC_DEPLOY_HOME"]
        else:
            os.environ["ELASTIC_DEPLOY_HOME"] = before


def shared_memory() -> frozenset[str]:
    """What Python programs and Ray have in shared memory now."""
    return frozenset(path.name for path in Path("/dev/shm").iterdir())


def kill(process: psutil.Process, number: signal.Signals = signal.SIGKILL) -> float:
    """End (or stop) a process; the time when."""
    process.send_signal(number)
    return time.time()
