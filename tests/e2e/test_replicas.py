"""Two replicas under a steady load: one dies, a change is rolled out, one goes; no client may notice.

In this order, on one deployment of its own cluster; each test stands on the one before. `-s` shows what was measured.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from elastic_deploy.cluster.local.processes import find
from scripts.benchmark.streams import QUESTIONS, Stream, Streams
from scripts.benchmark.trickle import Endpoint
from tests.e2e.conftest import user_of
from tests.e2e.user import ENGINE_START, User, kill, live_nodes_of

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

CLIENTS = 4
TOKENS = 96


@pytest.fixture(scope="module")
def pair(directory: Path) -> Iterator[User]:
    """The user of a cluster with a deployment of two replicas."""
    with user_of(directory, "pair") as one:
        yield one


def up(user: User, replicas: int, *arguments: str) -> tuple[int, str]:
    """`up` with so many replicas of one GPU; its exit status, and what it said."""
    sizes = ("--gpus", str(replicas), "--replicas", str(replicas), "--port", str(user.port))
    result = user.run("up", str(user.path), "--model", "tiny", *sizes, *arguments, limit=3 * ENGINE_START)
    return result.returncode, result.stderr


def load(user: User, clients: int = CLIENTS, pause_s: float = 0.0) -> Streams:
    """Clients of the deployment. With a pause they leave an engine that starts something of the processors."""
    endpoint = Endpoint(f"http://127.0.0.1:{user.port}/v1", "tiny", user.key)
    return Streams(endpoint, clients, tokens=TOKENS, pause_s=pause_s)


@pytest.fixture(scope="module")
def undisturbed(pair: User) -> dict[int, str]:
    """The text of each question, from engines that nothing happens to."""
    with load(pair, 2) as streams:
        streams.until(2 * len(QUESTIONS), 120)
        ended = streams.finish()
    texts = {stream.question: stream.text for stream in ended if not stream.error}
    assert len(texts) == len(QUESTIONS)
    return texts


def unharmed(what: str, ended: Sequence[Stream], texts: dict[int, str]) -> None:
    """No request failed, each had its text; and what the clients felt of it is printed."""
    failed = [stream.error for stream in ended if stream.error]
    others = [stream for stream in ended if not stream.error and stream.text != texts[stream.question]]
    stall, first = max(s.stall for s in ended), max(s.first_text or 0.0 for s in ended)
    print(f"\n{what}: {len(ended)} requests, longest stall {stall:.2f} s, longest wait for a first text {first:.2f} s")
    assert not failed, failed[:3]
    assert not others, others[:1]


def replicas(user: User) -> dict[str, Any]:
    """The replicas by their ids."""
    return {replica["id"]: replica for replica in user.deployment()["replicas"]}


def engines(user: User) -> set[tuple[str, int]]:
    """The replicas' engines, by replica and generation."""
    return {(name, replica["generation"]) for name, replica in replicas(user).items()}


def raylet_of(user: User, replica: str) -> psutil.Process:
    """The raylet of a replica's node."""
    [node_id] = replicas(user)[replica]["nodes"]
    node = next(node for node in live_nodes_of(user) if node.id == node_id)
    [raylet] = [p.pid for p, name in find(node.mark, node.sessions).items() if name == "raylet"]
    return psutil.Process(raylet)


def metrics(user: User, path: str = "/metrics") -> dict[str, float]:
    """What Prometheus would read, each line's value by the rest of the line."""
    with urllib.request.urlopen(f"http://127.0.0.1:{user.port}{path}", timeout=10) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_two_replicas_serve(pair: User) -> None:
    code, said = up(pair, 2)
    assert code == 0, said
    deployment = pair.deployment()
    assert (deployment["phase"], deployment["shape"]["replicas"]) == ("ready", 2)
    assert len({node for replica in deployment["replicas"] for node in replica["nodes"]}) == 2


def test_openais_own_client_passes_through(pair: User) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{pair.port}/v1", api_key=pair.key, timeout=60, max_retries=0)
    message: Any = {"role": "user", "content": "What are you?"}
    whole = client.chat.completions.create(model="tiny", messages=[message], max_tokens=16, temperature=0)
    parts = client.chat.completions.create(model="tiny", messages=[message], max_tokens=16, temperature=0, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == (
        whole.choices[0].message.content
    )
    text = client.completions.create(model="tiny", prompt="A node", max_tokens=16, temperature=0)
    pieces = client.completions.create(model="tiny", prompt="A node", max_tokens=16, temperature=0, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text
    assert [model.id for model in client.models.list()] == ["tiny"]
    # The field is one that vLLM takes and passes over: a prompt of 1 MB would not fit this model's context.
    large = client.completions.create(model="tiny", prompt="A node", max_tokens=4, temperature=0, user="u" * 2**20)
    assert large.usage is not None
    assert large.usage.completion_tokens == 4


def test_an_engine_stops_generating_for_a_client_that_goes_away(pair: User) -> None:
    def running() -> float:
        pages = [metrics(pair, f"/metrics/tiny/{replica}") for replica in replicas(pair)]
        return sum(value for page in pages for name, value in page.items() if "num_requests_running{" in name)

    client = openai.OpenAI(base_url=f"http://127.0.0.1:{pair.port}/v1", api_key=pair.key, timeout=60, max_retries=0)
    endless = {"ignore_eos": True}
    stream = client.completions.create(model="tiny", prompt="A node", max_tokens=1800, stream=True, extra_body=endless)
    next(iter(stream))
    pair.until("the engine's own metrics show the request", lambda: running() >= 1, limit=10)
    stream.close()
    pair.until("the engine's own metrics show that it is gone", lambda: running() == 0, limit=10)


def test_a_replica_dies_under_load_and_no_request_fails(pair: User, undisturbed: dict[int, str]) -> None:
    before = len(pair.deployment()["recoveries"])
    with load(pair) as streams:
        streams.until(20, 120)
        kill(raylet_of(pair, "r1"))
        streams.until(200, 300)
        ended = streams.finish()
    unharmed("a node of one of two replicas killed", ended, undisturbed)
    assert len(ended) >= 200
    pair.recovered(before)
    assert replicas(pair)["r0"]["generation"] == 1, "the other replica was let alone"


def test_a_change_is_rolled_out_under_load_and_no_request_fails(pair: User, undisturbed: dict[int, str]) -> None:
    before = engines(pair)
    with load(pair, 2, 1.0) as streams:
        code, said = up(pair, 2, "--yes", "--", "--max-num-seqs", "16")
        ended = streams.finish()
    assert code == 0, said
    unharmed("a change rolled out", ended, undisturbed)
    assert len(engines(pair)) == 2
    assert not before & engines(pair)
    assert pair.deployment()["rollout"] is None
    kinds = [event["kind"] for event in pair.events()]
    proven = [index for index, kind in enumerate(kinds) if kind == "engine.ready"]
    drained = [index for index, kind in enumerate(kinds) if kind == "engine.draining"]
    assert len(drained) == 2
    assert all(sum(p < d for p in proven) >= 3 + number + 1 for number, d in enumerate(drained)), kinds


def test_a_change_that_does_not_come_up_leaves_the_old_serving_and_is_exit_6(
    pair: User, undisturbed: dict[int, str]
) -> None:
    before = engines(pair)
    with load(pair, 2, 1.0) as streams:
        code, said = up(pair, 2, "--yes", "--", "--no-such-argument")
        ended = streams.finish()
    assert code == 6, said
    assert "unrecognized arguments" in said
    assert "serves on" in said
    unharmed("a change given up", ended, undisturbed)
    pair.until("the change's replica is gone", lambda: len(replicas(pair)) == 2, limit=60)
    assert engines(pair) == before
    assert pair.deployment()["phase"] == "ready"
    code, said = up(pair, 2, "--yes", "--", "--max-num-seqs", "16")
    assert code == 0, said
    assert "nothing to change" in said


def test_a_replica_that_is_not_wanted_any_more_finishes_its_streams(pair: User) -> None:
    with ThreadPoolExecutor(6) as pool:
        undisturbed = pair.stream("The fox", 1500)
        streams = [pool.submit(pair.stream, "The fox", 1500) for _ in range(6)]
        time.sleep(1.0)
        code, said = up(pair, 1, "--yes", "--", "--max-num-seqs", "16")
        assert code == 0, said
        assert [stream.result(timeout=120) for stream in streams] == [undisturbed] * 6
    pair.until("one replica is left", lambda: len(replicas(pair)) == 1, limit=60)
    [ending] = [event for event in pair.events() if event["kind"] == "engine.ending"][-1:]
    assert "unfinished" not in ending["message"]


def test_the_only_replica_dies_and_requests_wait_for_the_next(pair: User, undisturbed: dict[int, str]) -> None:
    before = len(pair.deployment()["recoveries"])
    [only] = replicas(pair)
    with load(pair) as streams:
        streams.until(8, 120)
        kill(raylet_of(pair, only))
        pair.recovered(before)
        streams.until(len(streams.ended()) + 8, 120)
        ended = streams.finish()
    unharmed("the node of the only replica killed", ended, undisturbed)
    held = sum(value for name, value in metrics(pair).items() if name.startswith("elastic_deploy_gateway_continued"))
    assert held >= 1


def test_the_front_door_comes_back_on_its_port(pair: User) -> None:
    door = pair.titled("elastic_deploy.gateway")
    kill(door)

    def answers() -> bool:
        try:
            return bool(metrics(pair))
        except OSError:
            return False

    print(f"\nthe front door was away for {pair.until('it answers again', answers, limit=30):.1f} s")
    assert pair.titled("elastic_deploy.gateway").pid != door.pid
    assert pair.chat("What are you?")


def test_the_engines_key_opens_nothing_at_the_door(pair: User) -> None:
    keys = pair.home.parent.glob("**/keys/tiny.engine")
    for key in [path.read_text().strip() for path in keys]:
        request = pair.request("/v1/completions", {"model": "tiny", "prompt": "x"}, key)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 401
        assert json.load(refused.value)["error"]["code"] == "invalid_api_key"
