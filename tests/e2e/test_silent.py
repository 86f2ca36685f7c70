"""A node that joins and lets no engine speak, with real nodes and real vLLM: it is given up, and another serves."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from elastic_deploy.cluster.local.processes import find
from tests.e2e.conftest import user_of
from tests.e2e.user import User, kill, live_nodes_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

START = 75.0
"""Seconds that an engine is given to speak: more than one needs beside other tests on two cores."""


@pytest.fixture(scope="module")
def user(directory: Path) -> Iterator[User]:
    """The user of a cluster whose engines have to speak soon."""
    with user_of(directory, "silent") as one:
        config = yaml.safe_load(one.path.read_text())
        config["metadata"]["elastic_deploy"]["engine_start_timeout"] = f"{START:g}s"
        one.path.write_text(yaml.safe_dump(config, sort_keys=False))
        yield one


def silence(user: User, first: list[str]) -> None:
    """Stop vLLM's core wherever it runs on the first node that joined, as a GPU that hangs would."""
    for node in live_nodes_of(user):
        if node.is_head or (first and node.id != first[0]):
            continue
        for found in find(node.mark, node.sessions):
            with suppress(psutil.Error):
                process = psutil.Process(found.pid)
                if "VLLM::EngineCore" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_STOPPED:
                    kill(process, signal.SIGSTOP)
                    first[:] = [node.id]


def test_it_is_given_up_and_another_node_serves(user: User) -> None:
    first: list[str] = []
    arguments = ("--model", "tiny", "--gpus", "1", "--port", str(user.port))
    with ThreadPoolExecutor() as pool:
        up = pool.submit(user.run, "up", str(user.path), *arguments, limit=600)

        def is_over() -> bool:
            silence(user, first)
            return up.done()

        user.until("it serves", is_over, limit=600)
        result = up.result()
    assert result.returncode == 0, result.stderr
    events = user.events()
    failed = [event for event in events if event["kind"] == "engine.failed"]
    assert len(failed) == 2, "two engines in a row were silent"
    (given_up,) = [event for event in events if event["kind"] == "node.distrusted"]
    assert given_up["node"] == first[0]
    assert "2 engines in a row that were started on it did not generate within 1m 15s" in given_up["message"]
    (replica,) = user.deployment()["replicas"]
    assert first[0] not in replica["nodes"]
    assert user.chat("What are you?")
    user.until("the node is gone", lambda: first[0] not in [node.id for node in live_nodes_of(user)], limit=120)
