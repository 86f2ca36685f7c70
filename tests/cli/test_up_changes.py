"""`up` of a change to a deployment that serves: what it asks for, what it waits for, and how it says that it failed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Finished, Script, deployment, event, ok, status

UP = ("--model", "tiny", "--gpus", 2, "--tensor-parallel-size", 2, "--port", 8499)
ENGINE = {"kind": "engine", "message": "The engine of tiny/r1 failed 3 times in a row."}
LATE = {"kind": "wait_timeout", "message": "Waited 20s for 4 GPUs: 2 of 4 GPUs have come."}


def rollout(state: str, failure: dict[str, str] | None = None) -> dict[str, Any]:
    """How a change fares."""
    return {"state": state, "proven": 0, "replicas": 1, "failure": failure}


def changing(phase: str, state: str, failure: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """A status in which a change of the deployment is under way."""
    return status(deployment(phase=phase, rollout=rollout(state, failure)))


@pytest.fixture
def serving(head: Script) -> Script:
    """A head on which the deployment serves, and on which another is wished for."""
    head.answer("ensure", [ok(session="s", started=False)])
    head.answer("status", status(deployment(rollout=None)))
    head.answer("compare", [ok(difference=["engine_arguments: (none) -> --seed 7"], exists=True, phase="ready")])
    head.answer("apply", [ok(changed=True, difference=[], api_key="the-secret-key", event="000001")])
    head.answer("events", [event(number, f"step {number}", "tiny") for number in range(2, 7)] + [{"sleep": 30}])
    return head


def test_a_change_is_waited_for_though_the_deployment_serves_all_the_while(
    cli: Callable[..., Finished], cluster_yaml: Path, serving: Script
) -> None:
    before, rolling = status(deployment(rollout=None)), changing("ready", "rolling")
    serving.answer("status", before, rolling, rolling, changing("degraded", "rolling"), before)
    done = cli("up", cluster_yaml, *UP)
    assert (done.code, serving.verbs().count("status") >= 5) == (0, True), done.err


@pytest.mark.parametrize(("failure", "code"), [(ENGINE, 6), (LATE, 5)])
def test_a_change_that_is_given_up_has_an_exit_code_of_its_own_and_removes_nothing(
    cli: Callable[..., Finished], cluster_yaml: Path, serving: Script, failure: dict[str, str], code: int
) -> None:
    serving.answer("status", status(deployment(rollout=None)), changing("ready", "given_up", failure))
    done = cli("up", cluster_yaml, *UP, "-y")
    assert done.code == code
    assert failure["message"] in done.err
    assert "What tiny was before this change serves on." in done.err
    assert "stop" not in serving.verbs()


def test_what_was_before_is_restored_before_up_ends(
    cli: Callable[..., Finished], cluster_yaml: Path, serving: Script
) -> None:
    before, restoring = status(deployment(rollout=None)), changing("starting", "restoring", ENGINE)
    serving.answer("status", before, restoring, restoring, changing("ready", "given_up", ENGINE))
    done = cli("up", cluster_yaml, *UP)
    assert (done.code, serving.verbs().count("status") >= 4) == (6, True), done.err


def test_the_json_of_a_change_that_was_given_up_says_how_it_stands(
    cli: Callable[..., Finished], cluster_yaml: Path, serving: Script
) -> None:
    serving.answer("status", status(deployment(rollout=None)), changing("ready", "given_up", ENGINE))
    *_, result = cli("up", cluster_yaml, *UP, "-o", "json").json_lines
    assert (result["exit_code"], result["status"]["phase"]) == (6, "ready")
    assert result["status"]["rollout"]["failure"] == ENGINE


@pytest.mark.parametrize(
    ("running", "asked", "room"),
    [
        ({"tensor_parallel": 2, "replicas": 1}, ("--gpus", 2, "--tensor-parallel-size", 2), True),
        ({"tensor_parallel": 1, "replicas": 3}, ("--gpus", 3, "--replicas", 3), True),
        ({"tensor_parallel": 1, "replicas": 4}, ("--gpus", 4, "--replicas", 4), False),
        ({"tensor_parallel": 2, "replicas": 2}, ("--gpus", 2, "--tensor-parallel-size", 2), False),
    ],
)
def test_the_supervisor_is_told_whether_there_is_room_for_one_replica_more(
    cli: Callable[..., Finished],
    cluster_yaml: Path,
    serving: Script,
    running: dict[str, int],
    asked: tuple[object, ...],
    room: bool,
) -> None:
    now = status(deployment(shape={"pipeline_parallel": 1, **running}, rollout=None))
    serving.answer("status", now)
    cli("up", cluster_yaml, "--model", "tiny", "--port", 8499, *asked, "--detach")
    [apply] = [call for call in serving.calls if call["verb"] == "apply"]
    assert apply["payload"]["deployment"]["surge"] is room
