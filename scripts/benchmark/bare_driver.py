"""Bare Ray and bare vLLM: what one writes without elastic-deploy. Runs on the head, started by `bare`.

Asks for two nodes of one GPU, waits for a placement group on both, runs vLLM's API server in an actor of its first
bundle with the arguments and environment that our engine has, and asks for one token. It waits as well as anybody
can: told by Ray that the group is ready, and looking at the server ten times a second. Prints one JSON object at the
end: the time (seconds since the epoch) of each mark. Imports nothing of ours but vLLM's command line.
"""

import json
import os
import runpy
import secrets
import socket
import sys
import time
import urllib.request

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from elastic_deploy.model.names import EngineName
from elastic_deploy.rehearsal.engine_arguments import TINY_MODEL, rehearsal_environment
from elastic_deploy.runtime.engine import EngineOrder, vllm_arguments

HOST = "127.0.0.1"
BUNDLES = [{"GPU": 1}, {"GPU": 1}]
GROUP_LIMIT, ENGINE_LIMIT, ANSWER_LIMIT = 300, 600.0, 120.0
LOOK_PERIOD = 0.1


@ray.remote(num_cpus=0)
class Engine:
    """vLLM's API server in an actor's main thread."""

    def began(self) -> float:
        """When the actor could run its first method."""
        return time.time()

    def serve(self, arguments: list[str], key: str) -> None:
        """Serve until the actor is ended."""
        os.environ["VLLM_API_KEY"] = key
        sys.argv = ["vllm", *arguments]
        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)


def main() -> None:
    """Do it, and print the marks."""
    ray.init("auto", namespace="bare", log_to_driver=False, logging_level="ERROR")
    marks = {"request": time.time()}
    request_resources(bundles=BUNDLES)
    group = placement_group(BUNDLES, strategy="PACK")
    if not group.wait(GROUP_LIMIT):
        sys.exit(f"The placement group was not ready within {GROUP_LIMIT} s.")
    marks["group ready"] = time.time()
    strategy = PlacementGroupSchedulingStrategy(
        group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    engine = Engine.options(  # type: ignore[attr-defined]
        scheduling_strategy=strategy, runtime_env={"env_vars": rehearsal_environment()}
    ).remote()
    marks["engine process runs"] = ray.get(engine.began.remote(), timeout=ENGINE_LIMIT)
    port, key = free_port(), secrets.token_urlsafe(16)
    name = EngineName("bare", "r0", 1)
    order = EngineOrder(
        name, TINY_MODEL, TINY_MODEL, tensor_parallel=2, pipeline_parallel=1, arguments=(), api_key=key, version=""
    )
    ended = engine.serve.remote(vllm_arguments(order, HOST, port, rehearsal=True), key)
    await_health(port, ended)
    marks["healthy"] = time.time()
    generate(port, key)
    marks["first token"] = time.time()
    print(json.dumps(marks), flush=True)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def await_health(port: int, ended: ray.ObjectRef) -> None:
    """Look until the server says that it is well; ends this process where it has ended, or after ENGINE_LIMIT."""
    deadline = time.monotonic() + ENGINE_LIMIT
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except OSError:
            if ray.wait([ended], timeout=LOOK_PERIOD)[0]:
                ray.get(ended)
                sys.exit("vLLM ended before it served.")
    sys.exit(f"vLLM was not healthy within {ENGINE_LIMIT:g} s.")


def generate(port: int, key: str) -> None:
    """One token, as our own proof of life asks for it."""
    body = json.dumps({"model": TINY_MODEL, "prompt": "1", "max_tokens": 1, "temperature": 0}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"http://{HOST}:{port}/v1/completions", body, headers)
    with urllib.request.urlopen(request, timeout=ANSWER_LIMIT) as answer:
        json.load(answer)["choices"][0]


if __name__ == "__main__":
    main()
