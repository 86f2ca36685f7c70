"""Up, serve, lose a part, serve again: in this order, on one deployment; each test stands on the one before."""

import json
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import make_user
from tests.e2e.user import User, kill, live_nodes_of, shared_memory

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

REFUSAL = {"code": "InsufficientInstanceCapacity", "message": "We currently do not have sufficient capacity."}


def script(user: User, content: dict[str, Any] | None) -> None:
    """Script the cloud's bad day, or end it."""
    path = user.home / user.cluster / "local" / "script.json"
    path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(json.dumps(content))


def generation(user: User) -> int:
    """The generation of the engine that serves."""
    return int(user.deployment()["replicas"][0]["generation"])


def streams_survive(user: User, harm: Callable[[], object], recover: Callable[[], object]) -> None:
    """Streams that are under way when harm is done end well, with the text that they would have had without it."""
    prompts = ("A node", "The fox", "Hello", "We wait")
    with ThreadPoolExecutor(len(prompts)) as pool:
        undisturbed = list(pool.map(lambda prompt: user.stream(prompt, 600), prompts))
        streams = [pool.submit(user.stream, prompt, 600) for prompt in prompts]
        time.sleep(1.0)
        assert not any(stream.done() for stream in streams)
        harm()
        recover()
        assert [stream.result(timeout=120) for stream in streams] == undisturbed


def test_up_shows_the_clouds_refusal_and_serves_once_it_ends(user: User) -> None:
    script(user, {"refuse": {"count": 1000, **REFUSAL}})
    began = time.monotonic()
    result = user.up("--detach", limit=120)
    assert result.returncode == 0, result.stderr

    def told() -> bool:
        return REFUSAL["code"] in user.deployment()["reason"]

    user.until("the refusal is in the status", told, limit=max(10.0, 10.0 + time.monotonic() - began))
    waiting = user.deployment()
    assert waiting["phase"] == "waiting"
    assert REFUSAL["message"].rstrip(".") in waiting["reason"]
    assert any(e["kind"] == "launch.failed" and REFUSAL["code"] in e["message"] for e in user.events())

    script(user, None)
    result = user.up()
    assert result.returncode == 0, result.stderr
    assert user.deployment()["phase"] == "ready"


def test_the_start_is_told_step_by_step_by_the_engine_itself(user: User) -> None:
    (replica,) = [entry for entry in user.status()["ledger"] if entry["what"] == "replica"]
    assert [step["step"] for step in replica["steps"]][-4:] == ["starting", "weights", "engine", "ready"]
    assert all(step["seconds"] > 0 for step in replica["steps"][-4:-1])


def test_the_model_answers_in_words(user: User) -> None:
    answer = user.chat("What are you?")
    assert re.search(r"[a-z]{2,} [a-z]{2,}", answer), answer


def test_the_engine_spans_two_nodes_of_one_group(user: User) -> None:
    deployment = user.deployment()
    assert deployment["shape"] == {"tensor_parallel": 2, "pipeline_parallel": 1, "replicas": 1}
    assert deployment["gpus"] == {"requested": 2, "placed": 2}
    replica = deployment["replicas"][0]
    assert replica["placement_group"]["state"] == "CREATED"
    assert len(replica["nodes"]) == 2


def test_up_again_changes_nothing(user: User) -> None:
    before, events = generation(user), len(user.events())
    result = user.up()
    assert result.returncode == 0, result.stderr
    assert generation(user) == before
    assert len(user.events()) == events


def test_no_secret_is_in_argv_logs_journal_or_yaml(user: User) -> None:
    home = user.home / user.cluster
    secrets = {user.key, (home / "ray-token").read_text().strip()}
    secrets |= {path.read_text().strip() for path in home.rglob("*.engine")}
    assert len(secrets) == 3
    for process in user.processes():
        assert not secrets & set(re.split(r"[\s=]", " ".join(process.cmdline())))
    files = [p for p in home.rglob("*") if p.is_file() and "keys" not in p.parts and p.name != "ray-token"]
    assert any(p.name.endswith(".log") for p in files)
    for path in [*files, user.path]:
        text = path.read_bytes()
        assert not [path for secret in secrets if secret.encode() in text], path


def test_the_engine_and_the_head_listen_on_loopback_alone(user: User) -> None:
    addresses = {
        (connection.laddr.ip, connection.laddr.port)
        for process in user.processes()
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    engine = {p for p in user.engine_processes() if "Engine" in " ".join(p.cmdline())}
    assert engine
    served = {c.laddr.ip for p in engine for c in p.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port}
    assert ("127.0.0.1", user.port) in addresses
    assert served


def test_the_engines_log_is_shown(user: User) -> None:
    lines = user.done("logs", str(user.path), "--replica", "r0", limit=60)
    assert "vLLM" in lines


def test_a_killed_supervisor_comes_back_and_restarts_nothing(user: User) -> None:
    before = user.deployment()
    old = user.titled("ray::SupervisorActor")
    kill(old)
    user.until("another supervisor runs", lambda: len(user.all_titled("ray::SupervisorActor")) == 1, limit=60)
    assert user.titled("ray::SupervisorActor").pid != old.pid
    time.sleep(5)
    after = user.deployment()
    assert after["phase"] == "ready"
    assert after["replicas"] == before["replicas"]
    assert after["recoveries"] == before["recoveries"]
    assert user.chat("What are you?")


def test_a_killed_autoscaler_is_started_again_and_said(user: User) -> None:
    old = user.titled("autoscaler/v2/monitor.py")
    kill(old)

    def back() -> bool:
        kinds = [event["kind"] for event in user.events()]
        return "autoscaler.lost" in kinds and "autoscaler.back" in kinds

    user.until("the autoscaler runs again", back, limit=60)
    assert user.titled("autoscaler/v2/monitor.py").pid != old.pid
    assert user.deployment()["phase"] == "ready"


def test_a_killed_node_is_replaced_by_the_autoscaler_that_was_started_again(user: User) -> None:
    before = user.deployment()
    killed_at = kill(user.raylet_of_a_worker())
    recovery = user.recovered(len(before["recoveries"]))
    assert recovery["started_at"] - killed_at < 5.0
    assert "lost" in recovery["cause"]
    assert recovery["seconds"] > 0
    after = user.deployment()
    assert after["replicas"][0]["placement_group"]["id"] == before["replicas"][0]["placement_group"]["id"]
    assert set(after["replicas"][0]["nodes"]) != set(before["replicas"][0]["nodes"])
    assert user.chat("What are you?")


def test_a_killed_engine_is_restarted_in_the_same_group(user: User) -> None:
    before = user.deployment()
    kill(user.titled("ray::Engine"))
    recovery = user.recovered(len(before["recoveries"]))
    assert "engine" in recovery["cause"]
    after = user.deployment()
    assert after["replicas"][0]["placement_group"] == before["replicas"][0]["placement_group"]
    assert after["replicas"][0]["nodes"] == before["replicas"][0]["nodes"]
    assert user.chat("What are you?")


def test_a_worker_process_killed_while_a_request_streams(user: User) -> None:
    before = user.deployment()
    workers = [p for p in user.engine_processes() if "RayWorkerProc" in " ".join(p.cmdline())]
    assert len(workers) == 2
    streams_survive(user, lambda: kill(workers[-1]), lambda: user.recovered(len(before["recoveries"])))
    old = [p for p in user.engine_processes() if p.pid in {w.pid for w in workers}]
    assert not old
    assert user.chat("What are you?")


def test_a_node_killed_while_a_request_streams(user: User) -> None:
    before = user.deployment()
    raylet = user.raylet_of_a_worker()
    streams_survive(user, lambda: kill(raylet), lambda: user.recovered(len(before["recoveries"])))
    assert "lost" in user.deployment()["recoveries"][-1]["cause"]
    assert user.chat("What are you?")


def test_a_wedged_engine_is_found_by_its_canary_and_replaced(user: User) -> None:
    before = user.deployment()
    kill(user.titled("VLLM::EngineCore"), signal.SIGSTOP)
    recovery = user.recovered(len(before["recoveries"]))
    assert "wedged" in recovery["cause"]
    assert user.chat("What are you?")


def test_an_engine_that_refuses_its_arguments_ends_up_with_exit_6_and_its_words(user: User) -> None:
    arguments = ("--model", "tiny", "--name", "bad", "--gpus", "1", "--port", str(user.port))
    result = user.run("up", str(user.path), *arguments, "--", "--no-such-flag")
    assert result.returncode == 6, result.stderr
    assert "--no-such-flag" in result.stderr
    assert "Traceback" not in result.stderr
    assert user.deployment()["phase"] == "ready"
    user.done("down", str(user.path), "--deployment", "bad", "--yes")
    assert user.deployment("bad")["phase"] == "stopped"


def test_a_wait_ends_at_its_deadline_beside_a_cluster_that_serves(user: User, directory: Path) -> None:
    other = make_user(directory, "short", rehearsal_script={"max_nodes": 1})
    began = time.monotonic()
    result = other.up("--wait-timeout", "20s", "--yes", limit=180)
    took = time.monotonic() - began
    assert result.returncode == 5, result.stderr
    assert "2 GPU" in result.stderr
    assert took < 90
    assert not live_nodes_of(other)
    assert other.run("down", str(other.path)).returncode == 0
    assert user.chat("What are you?")


def test_what_can_never_fit_is_refused_before_anything_starts(user: User, directory: Path) -> None:
    other = make_user(directory, "never")
    result = other.run("up", str(other.path), "--model", "tiny", "--gpus", "64", limit=30)
    assert result.returncode == 4
    assert "64" in result.stderr
    assert not live_nodes_of(other)
    assert not (other.home / other.cluster / "local").exists()
    assert user.deployment()["phase"] == "ready"


def test_rays_control_store_has_survived_all_of_this(user: User) -> None:
    up = next(event for event in user.events() if event["kind"] == "supervisor.started")
    assert user.titled("gcs_server").create_time() < up["time"]


def test_down_leaves_nothing_and_twice_is_no_error(user: User) -> None:
    running = user.processes()
    assert running
    ports = {
        connection.laddr.port
        for process in running
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    }
    temp_dirs = {Path(node.temp_dir) for node in live_nodes_of(user)}
    assert user.port in ports
    assert all(path.exists() for path in temp_dirs)
    user.done("down", str(user.path), "--yes", limit=180)
    assert not [p for p in running if p.is_running() and p.status() != "zombie"]
    assert not live_nodes_of(user)
    listening = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr}
    assert not ports & listening
    assert not [path for path in temp_dirs if path.exists()]
    assert not shared_memory() - user.memory_before
    kept = {path.relative_to(user.home / user.cluster).parts[0] for path in (user.home / user.cluster).rglob("*")}
    assert kept <= {"journal.jsonl", "logs"}, kept
    user.done("down", str(user.path), "--yes", limit=60)
