"""The rehearsal that `smoke` runs, step by step: up, a request, a node killed, recovery, a request, down.

It uses the commands that a user would, as processes of their own, on a cluster of local processes. What it may not
know is anything of the supervisor's inside: it sees what a user sees.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic_deploy.cluster.local.processes import find
from elastic_deploy.cluster.local.state import live_nodes
from elastic_deploy.model.errors import EngineFailedError, ExitCode, RefusedError, UserError, WaitTimeoutError
from elastic_deploy.rehearsal.junit import Case

UP_LIMIT = 900.0
"""Seconds for `up`: two nodes, and one start of the engine on a machine that may be busy."""

RECOVERY_LIMIT = 900.0
"""Seconds from a node's death until a generation comes back: again one start of the engine."""

ANSWER_LIMIT = 120.0
DOWN_LIMIT = 180.0


@dataclass(slots=True)
class Rehearsal:
    """One run on the cluster YAML at `path`, of a cluster named `cluster`. `say` tells of progress."""

    path: Path
    cluster: str
    options: tuple[str, ...]
    say: Callable[[str], None]
    cases: list[Case] = field(default_factory=list)
    failure: UserError | None = None

    def run(self) -> None:
        """All steps in turn; after a failed one only `down` is still done."""
        self._step("up", self._up)
        self._step("request", self._request)
        self._step("node killed and replaced", self._kill_and_recover)
        self._step("request after recovery", self._request)
        self._step("down", self._down, always=True)
        self._step("nothing left", self._nothing_left, always=True)

    def _step(self, name: str, act: Callable[[], str], *, always: bool = False) -> None:
        if self.failure is not None and not always:
            self.cases.append(Case(name, 0.0, skipped=True))
            return
        began = time.monotonic()
        try:
            told = act()
        except UserError as error:
            self.failure = self.failure or error
            self.cases.append(Case(name, time.monotonic() - began, error.message))
            self.say(f"{name}: FAILED: {error.message}")
        else:
            self.cases.append(Case(name, time.monotonic() - began))
            self.say(f"{name}: {time.monotonic() - began:.1f} s{f' ({told})' if told else ''}")

    def _command(self, limit: float, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "elastic_deploy", *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as error:
            raise WaitTimeoutError(f"`{arguments[0]}` did not end within {limit:g} s.") from error

    def _checked(self, limit: float, *arguments: str) -> str:
        done = self._command(limit, *arguments)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or ["no word"])[-1]
            failure = next((kind for kind in UserError.__subclasses__() if kind.code == done.returncode), UserError)
            raise failure(f"`{arguments[0]}` ended with exit code {done.returncode}: {words}")
        return done.stdout

    def _up(self) -> str:
        output = self._checked(UP_LIMIT, "up", str(self.path), *self.options, "--yes", "-o", "json")
        events = [json.loads(line) for line in output.splitlines()]
        at = {event["kind"]: event["time"] for event in events if "time" in event}
        spans = (("GPUs", "request", "group.ready"), ("engine", "group.ready", "engine.ready"))
        return ", ".join(f"{name} {at[b] - at[a]:.1f} s" for name, a, b in spans if a in at and b in at)

    def _status(self) -> dict[str, Any]:
        document = json.loads(self._checked(60.0, "status", str(self.path), "-o", "json"))
        deployment: dict[str, Any] = document["deployments"][0]
        return deployment

    def _request(self) -> str:
        deployment = self._status()
        key = Path(deployment["api_key_file"]).read_text().strip()
        body = {"model": deployment["model"], "messages": [{"role": "user", "content": "What are you?"}]}
        request = urllib.request.Request(
            f"{deployment['endpoint']}/chat/completions",
            json.dumps({**body, "max_tokens": 32, "temperature": 0}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_LIMIT) as answer:
                text = str(json.load(answer)["choices"][0]["message"]["content"])
        except (OSError, ValueError, LookupError) as error:
            raise EngineFailedError(f"The endpoint did not answer a chat completion: {error}.") from error
        if not text.strip():
            raise EngineFailedError("The endpoint answered a chat completion with no text.")
        return repr(text[:60])

    def _kill_and_recover(self) -> str:
        before = self._status()
        nodes = {node.id: node for node in live_nodes(self.cluster) if not node.is_head}
        victims = [name for replica in before["replicas"] for name in replica["nodes"] if name in nodes]
        if not victims:
            raise RefusedError("No worker node of the deployment was found to kill.")
        victim = nodes[victims[-1]]
        for process, name in find(victim.mark, victim.sessions).items():
            if name == "raylet":
                os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + RECOVERY_LIMIT
        while time.monotonic() < deadline:
            now = self._status()
            if len(now["recoveries"]) > len(before["recoveries"]) and now["phase"] == "ready":
                recovery = now["recoveries"][-1]
                return f"{recovery['cause']}; serving again {recovery['seconds']:.1f} s after it was noticed"
            if now["phase"] == "failed":
                raise EngineFailedError(f"The deployment failed instead of recovering: {now['reason']}")
            time.sleep(1.0)
        raise WaitTimeoutError(f"{RECOVERY_LIMIT:g} s after {victim.id} was killed, nothing serves again.")

    def _down(self) -> str:
        self._checked(DOWN_LIMIT, "down", str(self.path), "--yes")
        return ""

    def _nothing_left(self) -> str:
        left = live_nodes(self.cluster)
        if left:
            raise RefusedError(f"After `down` these nodes still run: {', '.join(node.id for node in left)}.")
        return ""

    @property
    def exit_code(self) -> ExitCode:
        """That of the first step which failed."""
        return self.failure.code if self.failure else ExitCode.DONE
