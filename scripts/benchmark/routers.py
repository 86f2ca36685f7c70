"""Others' routers as doors in front of our engines: their command lines, their processes, and what they are told.

Called by scripts/bench-doors. They are given the addresses of the engines at their start, and every later one as soon
as our own front door has it, as a service discovery would give them.
"""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from elastic_deploy.model.errors import RefusedError, WaitTimeoutError
from scripts.benchmark.replicas import HOST, Replicas, free_port
from scripts.benchmark.trickle import Endpoint

Router = Literal["smg", "vllm-router"]

_RETRIES = (
    # Round robin, because the policies that look at the load send most to the engine that has just died: it has none.
    *("--policy", "round_robin"),
    # A request of which nothing was told is tried again for about two minutes, longer than an engine takes to start.
    *("--retry-max-retries", "120", "--retry-initial-backoff-ms", "50"),
    *("--retry-backoff-multiplier", "1.5", "--retry-max-backoff-ms", "1000"),
    *("--worker-startup-check-interval", "1"),
)

FLAGS: dict[Router, tuple[str, ...]] = {
    # With its breaker or its health checks it refuses at once while no engine is left, and tries nothing again;
    # without them it holds, and leaves out an engine that it cannot reach all the same.
    "smg": (*_RETRIES, "--disable-circuit-breaker", "--disable-health-check"),
    # An engine is left out after one failure, and asked again after two seconds; one look a second.
    "vllm-router": (
        *_RETRIES,
        *("--cb-failure-threshold", "1", "--cb-success-threshold", "1", "--cb-timeout-duration-secs", "2"),
        *("--health-check-interval-secs", "1", "--health-failure-threshold", "1", "--health-success-threshold", "1"),
    ),
}
"""Those of several that were tried with which each fared best. By default both try 5 times, for less than a second, and
look at an engine once a minute."""

START_LIMIT, ADD_LIMIT, STOP_GRACE = 60.0, 60.0, 10.0
LOOK_PERIOD = 0.5


def command(router: Router, binaries: Path, engines: Sequence[str], key: str, port: int) -> list[str]:
    """The command line of a router on `port`, in front of engines that demand `key`."""
    place = ("--host", HOST, "--port", str(port), "--prometheus-host", HOST, "--prometheus-port", str(free_port()))
    where = (*place, "--worker-urls", *engines, "--api-key", key)
    if router == "smg":
        return [
            str(binaries / "smg"),
            "launch",
            *where,
            *FLAGS[router],
            "--backend",
            "vllm",
            "--disable-tokenizer-autoload",
        ]
    return [str(binaries / "vllm-router"), *where, *FLAGS[router]]


@contextmanager
def running(router: Router, binaries: Path, replicas: Replicas, log: Path) -> Iterator[Endpoint]:
    """A router in front of the engines that serve now; it is ended with the context. Its key is the engines' own."""
    engines, key, port = replicas.engines(), replicas.engine_key(), free_port()
    door = Endpoint(f"http://{HOST}:{port}/v1", replicas.door.model, key)
    arguments = command(router, binaries, engines, key, port)
    with log.open("w") as output, subprocess.Popen(arguments, stdout=output, stderr=output) as process:
        try:
            await_answer(door, START_LIMIT, lambda: process.poll() is None)
            with _following(router, door, replicas, engines):
                yield door
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def await_answer(door: Endpoint, limit_s: float, lives: Callable[[], bool]) -> None:
    """Wait until a door answers with a token."""
    deadline = time.monotonic() + limit_s
    body = json.dumps({"model": door.model, "prompt": "1", "max_tokens": 1}).encode()
    while True:
        try:
            with urllib.request.urlopen(_request(door, "/completions", body), timeout=10):
                return
        except OSError as error:
            if not lives():
                raise RefusedError("The door ended before it served.") from None
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"The door does not answer after {limit_s:g} s: {error}") from None
            time.sleep(LOOK_PERIOD)


@dataclass(frozen=True, slots=True)
class _Follower:
    router: Router
    door: Endpoint
    replicas: Replicas
    over: threading.Event

    def run(self, engines: Sequence[str]) -> None:
        """Tell the router of every engine that is not in `engines` and comes later."""
        told = set(engines)
        while not self.over.wait(LOOK_PERIOD):
            for engine in self.replicas.engines():
                if engine not in told and self._tell(engine):
                    told.add(engine)

    def _tell(self, engine: str) -> bool:
        # vllm-router answers once the engine is in; smg at once, and looks at the engine later.
        url = self.door.url.removesuffix("/v1")
        if self.router == "smg":
            body = json.dumps({"url": engine, "api_key": self.door.key, "runtime": "vllm"}).encode()
            request = _request(Endpoint(url, self.door.model, self.door.key), "/workers", body)
        else:
            request = _request(Endpoint(url, self.door.model, self.door.key), f"/add_worker?url={quote(engine)}", b"")
        try:
            with urllib.request.urlopen(request, timeout=ADD_LIMIT):
                return True
        except OSError as error:
            print(f"{self.router} was told of a new engine and refused: {error}", file=sys.stderr)
            return False


@contextmanager
def _following(router: Router, door: Endpoint, replicas: Replicas, engines: Sequence[str]) -> Iterator[None]:
    over = threading.Event()
    follower = _Follower(router, door, replicas, over)
    thread = threading.Thread(target=follower.run, args=(engines,), name=f"follow-{router}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(ADD_LIMIT + LOOK_PERIOD)


def _request(door: Endpoint, path: str, body: bytes) -> urllib.request.Request:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {door.key}"}
    return urllib.request.Request(door.url + path, body, headers)
