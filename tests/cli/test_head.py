"""The way to the head: answers, errors, limits, and that nothing is left of a conversation."""

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from elastic_deploy.cluster.agent_process import AgentProcess, SilentError
from elastic_deploy.cluster.config import load_cluster
from elastic_deploy.cluster.head import Head, decode, find_head
from elastic_deploy.cluster.local.state import State, transaction
from elastic_deploy.cluster.remote_shell import remote_command
from elastic_deploy.model.errors import (
    EngineFailedError,
    InvalidConfigError,
    NeverFitsError,
    RefusedError,
    UsageError,
    UserError,
    WaitTimeoutError,
)
from tests.cli.conftest import CLUSTER, Script, error, ok


@pytest.fixture
def found(cluster_yaml: Path, head: Script) -> Head:  # noqa: ARG001
    result = find_head(load_cluster(cluster_yaml))
    assert result is not None
    return result


def test_a_call_hands_the_payload_over_and_returns_the_answer(found: Head, head: Script) -> None:
    head.answer("stop", [ok(stopped=["a"])])
    assert found.call("stop", {"deployment": None}) == {"stopped": ["a"]}
    assert head.calls == [{"verb": "stop", "payload": {"deployment": None}}]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, UserError),
        (2, UsageError),
        (3, InvalidConfigError),
        (4, NeverFitsError),
        (5, WaitTimeoutError),
        (6, EngineFailedError),
        (7, RefusedError),
        (99, UserError),
    ],
)
def test_an_error_keeps_its_exit_code_and_its_words(
    found: Head, head: Script, code: int, kind: type[UserError]
) -> None:
    head.answer("apply", [error(code, "It cannot be.")])
    with pytest.raises(kind, match=r"^It cannot be\.$") as raised:
        found.call("apply", {})
    assert type(raised.value) is kind


def test_a_stream_gives_each_answer_when_it_comes(found: Head, head: Script) -> None:
    head.answer("events", [ok(id="1"), {"sleep": 20}, ok(id="2")])
    stream = found.stream("events", {}, silence=15)
    began = time.monotonic()
    assert next(stream) == {"id": "1"}
    assert time.monotonic() - began < 10
    stream.close()  # type: ignore[attr-defined]  # a generator, as Iterator does not say


def test_a_head_that_stays_silent_is_refused_within_the_limit(found: Head, head: Script) -> None:
    head.answer("status", [{"sleep": 30}])
    began = time.monotonic()
    with pytest.raises(RefusedError, match="has not answered status within 1 s"):
        found.call("status", timeout=1)
    assert time.monotonic() - began < 10


def test_a_head_that_ends_without_a_word_is_refused_with_its_last_words(found: Head, head: Script) -> None:
    head.answer("status", [{"stderr": "first\nNo module named elastic_deploy"}, {"exit": 1}])
    with pytest.raises(RefusedError, match="No module named elastic_deploy"):
        found.call("status")


def test_a_head_that_says_nothing_and_ends_well_is_refused(found: Head, head: Script) -> None:
    head.answer("status", [])
    head.answer("status", [{"exit": 0}])
    with pytest.raises(RefusedError, match="gave no answer"):
        found.call("status")


@pytest.mark.parametrize("line", ["Welcome to Ubuntu", "[]", "{}", '{"ok": 1}', '{"error": "x"}'])
def test_what_is_no_answer_is_refused(line: str) -> None:
    with pytest.raises(RefusedError, match="something else"):
        decode(line, "c")


def test_a_shell_that_is_gone_is_refused() -> None:
    with pytest.raises(RefusedError, match="cannot be run"):
        Head("c", lambda command: ["/no/such/shell", command]).call("status")


def test_no_head_is_found_before_ray_runs_on_it(cluster_yaml: Path, head: Script) -> None:
    assert head.calls == []
    with transaction(CLUSTER) as draft:
        assert draft.state is not None
        nodes = {key: replace(node, up_since=None) for key, node in draft.state.nodes.items()}
        draft.state = State(draft.state.ports, draft.state.temp_dir, nodes)
    assert find_head(load_cluster(cluster_yaml)) is None


def test_no_head_is_found_where_nothing_is(cluster_yaml: Path) -> None:
    assert find_head(load_cluster(cluster_yaml)) is None


@pytest.fixture
def sleeper() -> list[str]:
    """A program that starts a child, tells its pid and sleeps."""
    program = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    return [sys.executable, "-c", program]


def test_the_end_of_a_process_is_that_of_its_children_too(sleeper: list[str]) -> None:
    with AgentProcess(sleeper, {}) as process:
        pid = int(next(process.lines(20)))
        os.kill(pid, 0)
    deadline = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_is_out_of_reach_of_our_ctrl_c(sleeper: list[str]) -> None:
    with AgentProcess(sleeper, {}) as process:
        pid = int(next(process.lines(20)))
        assert os.getsid(pid) != os.getsid(0)


def test_a_process_that_does_not_end_when_asked_is_killed() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True)"
    with AgentProcess([sys.executable, "-c", f"{stubborn}; time.sleep(60)"], {}) as process:
        assert next(process.lines(20)) == "x"
    assert process.exit_status() == -signal.SIGKILL


def test_a_process_that_talks_for_ever_meets_the_total_limit() -> None:
    chatter = "import time\nwhile True: print('x', flush=True); time.sleep(0.05)"
    with AgentProcess([sys.executable, "-c", chatter], {}) as process, pytest.raises(SilentError):
        for _ in process.lines(None, total_s=1.0):
            pass


def test_a_last_line_without_its_end_is_a_line() -> None:
    with AgentProcess(["printf", "one\ntwo"], {}) as process:
        assert list(process.lines(10)) == ["one", "two"]


def test_a_process_that_reads_nothing_is_no_error() -> None:
    with AgentProcess(["true"], {"much": "x" * 1_000_000}) as process:
        assert list(process.lines(10)) == []
        assert process.exit_status() == 0


def test_the_remote_command_asks_for_no_terminal_and_for_no_password() -> None:
    made = remote_command("ssh -tt -o IdentitiesOnly=yes -i /k.pem ubuntu@10.0.0.1", "exec python -m agent status")
    assert made[:2] == ["ssh", "-T"]
    assert "BatchMode=yes" in made
    assert made[-6:] == [
        "-o",
        "IdentitiesOnly=yes",
        "-i",
        "/k.pem",
        "ubuntu@10.0.0.1",
        "bash --login -c 'exec python -m agent status'",
    ]


def test_a_command_in_a_container_is_quoted_for_both_shells(tmp_path: Path) -> None:
    made = remote_command("ssh -tt u@h docker exec -it vllm /bin/bash", "printf '%s' 'a b'")
    words = made[made.index("u@h") + 1 :]
    assert words[:4] == ["docker", "exec", "-i", "vllm"]
    # What SSH does with its words: joined by spaces, read by the login shell there. Here docker is a stand-in that
    # runs what follows the container's name.
    (tmp_path / "docker").write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    (tmp_path / "docker").chmod(0o700)
    line = " ".join(words)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20, env=environment, check=True)
    assert done.stdout == "a b"


def test_what_is_no_ssh_command_is_an_error() -> None:
    with pytest.raises(ValueError, match="not an SSH command"):
        remote_command("kubectl exec", "true")


def test_the_quoted_command_survives_a_shell() -> None:
    made = remote_command("ssh u@h", "echo 'it''s'")
    assert shlex.split(made[-1]) == ["bash", "--login", "-c", "echo 'it''s'"]
