"""`up` on a cluster that runs, as the head's answers lead it: what it asks, shows, writes, and how it ends."""

import json
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import CLUSTER, Finished, Script, command_line, deployment, error, event, ok, status

UP = ("--model", "tiny", "--gpus", 2, "--tensor-parallel-size", 2, "--port", 8499)
FAILED = {"kind": "wait_timeout", "message": "Waited 20s for 2 GPUs: 1 of 2 GPUs has come."}


@pytest.fixture
def running(head: Script) -> Script:
    """A head whose supervisor runs, and knows no deployment yet."""
    head.answer("ensure", [ok(session="s", started=False)])
    head.answer("status", status(), status(deployment()))
    head.answer("compare", [ok(difference=[], exists=False, phase="", front_door=[])])
    head.answer("apply", [ok(changed=True, difference=[], api_key="the-secret-key", event="000001")])
    head.answer("events", [event(2, "tiny is waiting.", "tiny"), event(3, "tiny is ready.", "tiny"), {"sleep": 30}])
    return head


def test_up_hands_over_follows_and_says_where_it_serves(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script, home: Path
) -> None:
    done = cli("up", cluster_yaml, *UP, "--", "--max-model-len", "512")
    assert done.code == 0, done.err
    key_file = home / CLUSTER / "keys" / "tiny"
    assert key_file.read_text() == "the-secret-key\n"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert "http://127.0.0.1:8499/v1" in done.out
    assert str(key_file) in done.out
    assert "tiny is waiting." in done.err
    assert "the-secret-key" not in done.out + done.err
    assert "\x1b" not in done.out + done.err
    (applied,) = (call["payload"] for call in running.calls if call["verb"] == "apply")
    assert applied["port"] == 8499
    assert applied["deployment"]["engine_arguments"] == ["--max-model-len", "512"]
    assert applied["deployment"]["wait_timeout"] == 1800.0
    assert (applied["deployment"]["tensor_parallel"], applied["deployment"]["replicas"]) == (2, 1)
    (listened,) = (call["payload"] for call in running.calls if call["verb"] == "events")
    assert listened == {"after": "000001", "follow": True}


def test_up_in_json_is_an_object_a_line_and_the_last_is_the_result(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    assert running.calls == []
    done = cli("up", cluster_yaml, *UP, "-o", "json")
    *events, result = done.json_lines
    assert [each["message"] for each in events] == ["tiny is waiting.", "tiny is ready."]
    assert (result["kind"], result["exit_code"], result["status"]["phase"]) == ("result", 0, "ready")
    assert result["status"]["api_key_file"].endswith("/keys/tiny")


def test_up_with_the_same_arguments_changes_nothing_and_is_exit_0(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    running.answer("status", status(deployment()))
    running.answer("compare", [ok(difference=[], exists=True, phase="ready", front_door=[])])
    running.answer("apply", [ok(changed=False, difference=[], api_key="k", event="000003")])
    running.answer("events", [{"sleep": 30}])
    done = cli("up", cluster_yaml, *UP)
    assert done.code == 0
    assert "nothing to change" in done.err


def test_up_with_other_arguments_shows_the_difference_and_applies_it(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    running.answer("status", status(deployment()))
    running.answer("compare", [ok(difference=["gpus: 1 -> 2"], exists=True, phase="ready", front_door=[])])
    done = cli("up", cluster_yaml, *UP)
    assert done.code == 0
    assert "gpus: 1 -> 2" in done.err
    assert "apply" in running.verbs()


def test_a_change_of_the_port_is_shown_too_for_it_moves_all_deployments(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    running.answer("status", status(deployment(endpoint="http://127.0.0.1:8500/v1")), status(deployment()))
    running.answer("compare", [ok(difference=[], exists=False, phase="", front_door=["port: 8500 -> 8499"])])
    done = cli("up", cluster_yaml, *UP)
    assert f"of every deployment of {CLUSTER}: port: 8500 -> 8499" in done.err


def test_old_news_of_being_ready_does_not_count_after_a_change(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    old, starting = status(deployment()), status(deployment(phase="starting"))
    ready = status(deployment(endpoint="http://127.0.0.1:8499/v1", recoveries=[]))
    running.answer("status", old, old, starting, ready)
    running.answer("events", [event(number, f"step {number}", "tiny") for number in range(2, 6)] + [{"sleep": 30}])
    done = cli("up", cluster_yaml, *UP)
    assert done.code == 0
    assert running.verbs().count("status") >= 4


def test_detach_returns_once_the_deployment_is_handed_over(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    running.answer("status", status(), status(deployment(phase="waiting")))
    done = cli("up", cluster_yaml, *UP, "--detach")
    assert done.code == 0
    assert "events" not in running.verbs()


def test_no_gpus_by_the_deadline_is_exit_5_and_says_what_stands_and_how_to_remove_it(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    running.answer("status", status(), status(deployment(phase="failed", failure=FAILED)))
    done = cli("up", cluster_yaml, *UP)
    assert done.code == 5
    assert FAILED["message"] in done.err
    assert "1 node: head-1" in done.err
    assert f"elastic-deploy down {cluster_yaml} --deployment tiny" in done.err
    assert "stop" not in running.verbs()
    assert "Traceback" not in done.err


def test_no_gpus_by_the_deadline_with_yes_stops_only_what_this_up_began(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    failed = status(deployment(phase="failed", failure=FAILED))
    running.answer("status", status(), failed, failed, status(deployment(phase="stopped")))
    running.answer("stop", [ok(stopped=["tiny"], known=True)])
    done = cli("up", cluster_yaml, *UP, "-y")
    assert done.code == 5
    assert "cluster stand-in stays" in done.err
    (stopped,) = (call["payload"] for call in running.calls if call["verb"] == "stop")
    assert stopped == {"deployment": "tiny"}


def test_an_engine_that_cannot_start_is_exit_6_with_its_last_words(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    failure = {"kind": "engine", "message": "The engine failed 3 times: ValueError: bad max_model_len."}
    running.answer("status", status(), status(deployment(phase="failed", failure=failure)))
    done = cli("up", cluster_yaml, *UP, "-o", "json")
    assert done.code == 6
    assert "bad max_model_len" in done.err
    assert done.json_lines[-1]["exit_code"] == 6
    assert done.json_lines[-1]["status"]["failure"] == failure


def test_a_refusal_of_the_head_keeps_its_exit_code_and_ends_the_json_too(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    running.answer("apply", [error(3, "Port 8499 is taken on the head.")])
    done = cli("up", cluster_yaml, *UP, "-o", "json")
    assert done.code == 3
    assert "Port 8499 is taken on the head." in done.err
    assert done.json_lines[-1] == {"kind": "result", "status": None, "exit_code": 3}


def test_gpus_of_other_deployments_count(cli: Callable[..., Finished], cluster_yaml: Path, running: Script) -> None:
    running.answer("status", status(deployment("other", gpus={"requested": 3, "placed": 3})))
    done = cli("up", cluster_yaml, *UP)
    assert done.code == 4
    assert "3 of other deployments" in done.err
    assert "apply" not in running.verbs()


def test_a_port_in_use_is_exit_3_and_starts_nothing(
    cli: Callable[..., Finished], cluster_yaml: Path, home: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli("up", cluster_yaml, "--model", "tiny", "--gpus", 2, "--port", port)
    assert done.code == 3
    assert f"Port {port}" in done.err
    assert len(done.err.splitlines()) == 1
    assert not home.exists()


def test_a_port_in_use_on_a_cluster_that_runs_is_exit_3_unless_it_is_its_own(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ("--model", "tiny", "--gpus", 2, "--port", port)
        assert cli("up", cluster_yaml, *arguments).code == 3
        running.answer("status", status(deployment(endpoint=f"http://127.0.0.1:{port}/v1")))
        running.answer("events", [{"sleep": 30}])
        assert cli("up", cluster_yaml, *arguments).code == 0


def test_a_supervisor_that_is_away_for_a_moment_is_waited_for(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    away = [error(7, "The supervisor on the head does not answer.")]
    running.answer("status", status(), away, away, status(deployment()))
    running.answer("events", away, [event(2, "The supervisor runs."), event(3, "ready", "tiny"), {"sleep": 30}])
    done = cli("up", cluster_yaml, *UP)
    assert done.code == 0
    assert done.err.count("does not answer") == 1


def test_ctrl_c_without_a_terminal_keeps_all_says_so_and_is_exit_130(cluster_yaml: Path, running: Script) -> None:
    running.answer("status", status(), status(deployment(phase="waiting")))
    process = subprocess.Popen(
        command_line("up", cluster_yaml, *UP), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    _until(lambda: "events" in running.verbs())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Deployment tiny is waiting" in err
    assert f"elastic-deploy down {cluster_yaml} --deployment tiny" in err
    assert "stop" not in running.verbs()
    assert "Traceback" not in err


@pytest.mark.parametrize(("answer", "stopped"), [("n", False), ("y", True)])
def test_ctrl_c_on_a_terminal_asks_whether_to_remove_it(
    cluster_yaml: Path, running: Script, answer: str, stopped: bool
) -> None:
    running.answer("status", status(), status(deployment(phase="waiting")))
    running.answer("stop", [ok(stopped=["tiny"], known=True)])
    with on_terminal("up", cluster_yaml, *UP) as (process, terminal, shown):
        _until(lambda: running.verbs().count("status") >= 2)
        process.send_signal(signal.SIGINT)
        _until(lambda: "[y/N]" in shown())
        os.write(terminal, answer.encode() + b"\n")
        _until(lambda: shown() is not None and process.poll() is not None)
    assert process.returncode == 130
    assert ("stop" in running.verbs()) is stopped


def test_a_change_that_the_person_does_not_want_is_not_applied(cluster_yaml: Path, running: Script) -> None:
    running.answer("status", status(deployment()))
    running.answer("compare", [ok(difference=["gpus: 1 -> 2"], exists=True, phase="ready", front_door=[])])
    with on_terminal("up", cluster_yaml, *UP) as (process, terminal, shown):
        _until(lambda: "Apply this?" in shown())
        os.write(terminal, b"n\n")
        _until(lambda: shown() is not None and process.poll() is not None)
    assert process.returncode == 130
    assert "apply" not in running.verbs()


@pytest.mark.parametrize("variable", ["NO_COLOR", "CI"])
def test_a_terminal_is_as_plain_as_a_pipe_where_the_environment_says_so(
    cluster_yaml: Path, running: Script, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running.calls == []
    monkeypatch.setenv(variable, "1")
    with on_terminal("up", cluster_yaml, *UP) as (process, _, shown):
        _until(lambda: shown() is not None and process.poll() is not None)
        assert "tiny is waiting." in shown()
        assert "\x1b" not in shown()
    assert process.returncode == 0


@contextmanager
def on_terminal(*arguments: Any) -> Iterator[tuple["subprocess.Popen[bytes]", int, Callable[[], str]]]:
    """The program on a terminal of its own: the process, the terminal's other end, and what it has shown."""
    ours, its = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(command_line(*arguments), stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    seen = bytearray()

    def shown() -> str:
        with suppress(OSError):
            while chunk := os.read(ours, 65536):
                seen.extend(chunk)
        return seen.decode(errors="replace")

    try:
        yield process, ours, shown
    except AssertionError:
        print("what it has shown:", shown())
        raise
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)


def _until(holds: Callable[[], bool], limit: float = 30.0) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_a_plan_in_json_is_one_document(cli: Callable[..., Finished], cluster_yaml: Path, home: Path) -> None:
    document = json.loads(cli("plan", cluster_yaml, *UP, "-o", "json").out)
    assert document["shape"] == {"tensor_parallel": 2, "pipeline_parallel": 1, "replicas": 1}
    assert document["bundles"] == [{"resources": {"GPU": 1.0}, "count": 2}]
    assert [(each["node_type"], each["count"]) for each in document["nodes"]] == [("gpu", 2)]
    assert not home.exists()


def test_a_relative_model_path_is_made_absolute_for_nodes_of_this_machine(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint").mkdir()
    relative = os.path.relpath(tmp_path / "checkpoint")
    cli("up", cluster_yaml, "--model", relative, "--gpus", 2, "--port", 8499, "--detach")
    (applied,) = (call["payload"]["deployment"] for call in running.calls if call["verb"] == "apply")
    assert applied["model"] == str(tmp_path / "checkpoint")
    assert (applied["name"], applied["served_model_name"]) == ("checkpoint", "checkpoint")


def test_a_head_without_our_package_is_named_as_that(
    cli: Callable[..., Finished], cluster_yaml: Path, running: Script
) -> None:
    missing = "/usr/bin/python: Error while finding module specification for 'elastic_deploy.runtime.agent'"
    running.answer(
        "status", [{"stderr": f"{missing} (ModuleNotFoundError: No module named 'elastic_deploy')"}, {"exit": 1}]
    )
    done = cli("status", cluster_yaml)
    assert done.code == 7
    assert "runs without elastic-deploy: `elastic-deploy up` brings it there." in done.err
