"""The node provider with real processes on its nodes, but no Ray: launching, looking, ending, refusing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import click
import pytest
from ray.autoscaler.node_launch_exception import NodeLaunchException

from elastic_deploy.cluster.local import nodes, processes
from elastic_deploy.cluster.local.provider import LocalNodeProvider
from elastic_deploy.cluster.local.state import Node, read, shell_command
from elastic_deploy.model.errors import InvalidConfigError, RefusedError

Until = Callable[[Callable[[], object], float, str], None]

HEAD = {"ray-node-type": "head", "ray-user-node-type": "head"}
WORKER = {"ray-node-type": "worker", "ray-user-node-type": "gpu"}


@pytest.fixture
def provider(home: Path) -> Iterator[LocalNodeProvider]:  # noqa: ARG001
    made = LocalNodeProvider({"type": "external"}, "c")
    yield made
    made.terminate_nodes(made.nodes_for_teardown({}))


def with_script(script: object) -> LocalNodeProvider:
    return LocalNodeProvider({"type": "external", "rehearsal_script": script}, "c")


def create(provider: LocalNodeProvider, tags: dict[str, str], count: int = 1) -> list[str]:
    return list(provider.create_node({}, tags, count))


def node(node_id: str) -> Node:
    state = read("c")
    assert state
    return state.nodes[node_id]


def run_for_ever(node_id: str, started: list["subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """A process on the node, as one that Ray had started there and recorded as vital."""
    process = subprocess.Popen([*shell_command("c", node_id), "exec sleep 60"], start_new_session=True)
    started.append(process)
    identity = processes.identify(process.pid)
    assert identity
    nodes.change("c", node_id, lambda now: replace(now, vital=(identity,), up_since=time.time()))
    return process


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.kill()
        process.wait(10)


def test_nodes_are_there_at_once_found_by_their_tags_and_never_share_an_id(provider: LocalNodeProvider) -> None:
    (head,) = create(provider, HEAD)
    workers = create(provider, WORKER, 2)
    again = LocalNodeProvider({"type": "external"}, "c")

    assert again.non_terminated_nodes({"ray-node-type": "head"}) == [head]
    assert set(again.non_terminated_nodes({})) == {head, *workers}
    provider.terminate_node(workers[0])
    (replacement,) = create(again, WORKER)
    assert len({head, replacement, *workers}) == 4


def test_tags_are_kept_and_those_of_a_node_that_is_gone_are_none(provider: LocalNodeProvider) -> None:
    (worker, _other) = create(provider, WORKER, 2)
    provider.set_node_tags(worker, {"ray-node-status": "up-to-date"})
    assert provider.node_tags(worker) == {**WORKER, "ray-node-status": "up-to-date"}

    provider.terminate_node(worker)

    provider.set_node_tags(worker, {"x": "y"})
    assert provider.node_tags(worker) == {}
    assert provider.is_terminated(worker)
    assert not provider.is_running(worker)


def test_many_threads_lose_no_node(provider: LocalNodeProvider) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create(provider, WORKER)[0], range(24)))

    assert set(provider.non_terminated_nodes({})) == set(made)
    assert len(set(made)) == 24


def test_a_command_on_a_node_has_the_nodes_environment_and_none_of_the_callers_ray_settings(
    provider: LocalNodeProvider, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:1")
    monkeypatch.setenv("RAY_SOMETHING", "else")
    (head,) = create(provider, HEAD)
    runner = provider.get_command_runner("", head, {}, "c", subprocess, False)

    dump = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = json.loads(runner.run(f"python -c '{dump}'", with_output=True, environment_variables={"X": {"GPU": 1}}))

    assert seen["HOME"] == str(node(head).home)
    assert seen["ELASTIC_DEPLOY_NODE"] == f"c/{head}"
    assert seen["ELASTIC_DEPLOY_HOME"] == str(home)
    assert seen["ELASTIC_DEPLOY_REHEARSAL"] == "1"
    assert seen["RAY_AUTH_MODE"] == "token"
    assert seen["RAY_ADDRESS"].endswith(f":{seen['ELASTIC_DEPLOY_GCS_PORT']}")
    assert seen["X"] == '{"GPU":1}'
    assert "RAY_SOMETHING" not in seen
    token = Path(seen["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(token.read_text())) == 32
    assert not any(token.read_text() in value for value in seen.values())


def test_a_cluster_that_is_no_rehearsal_does_not_say_so(home: Path) -> None:  # noqa: ARG001
    provider = LocalNodeProvider({"type": "external", "rehearsal": False}, "c")
    (head,) = create(provider, HEAD)
    runner = provider.get_command_runner("", head, {}, "c", subprocess, False)

    assert runner.run("echo ${ELASTIC_DEPLOY_REHEARSAL-none}", with_output=True) == b"none\n"
    provider.terminate_node(head)


def test_the_remote_shell_passes_standard_input_and_output_through(provider: LocalNodeProvider) -> None:
    (head,) = create(provider, HEAD)
    prefix = provider.get_command_runner("", head, {}, "c", subprocess, False).remote_shell_command_str()
    every_byte = bytes(range(256)) * 100

    done = subprocess.run(f"{prefix} 'cat; echo end >&2; exit 7'", shell=True, input=every_byte, capture_output=True)

    assert (done.stdout, done.stderr, done.returncode) == (every_byte, b"end\n", 7)


def test_a_command_that_fails_raises_with_its_status(provider: LocalNodeProvider) -> None:
    (head,) = create(provider, HEAD)
    runner = provider.get_command_runner("", head, {}, "c", subprocess, False)

    with pytest.raises(click.ClickException, match="status 3: exit 3"):
        runner.run("exit 3")


def test_a_ray_that_does_not_start_shows_the_last_lines_of_its_log_and_leaves_no_process(
    provider: LocalNodeProvider,
) -> None:
    (head,) = create(provider, HEAD)

    done = subprocess.run(
        [*shell_command("c", head), "ray start --head --no-such-option"], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert "`ray start` ended with status 2" in done.stderr
    assert "No such option" in done.stderr
    assert "No such option" in (node(head).log_dir / "node.log").read_text()
    assert processes.find(node(head).mark, node(head).sessions) == {}
    assert provider.is_running(head)


def test_files_go_to_the_nodes_own_home_and_back(provider: LocalNodeProvider, tmp_path: Path) -> None:
    (head,) = create(provider, HEAD)
    runner = provider.get_command_runner("", head, {}, "c", subprocess, False)
    (tmp_path / "up" / "inner").mkdir(parents=True)
    (tmp_path / "up" / "inner" / "file").write_text("text")
    (tmp_path / "up" / "left.pyc").write_text("out")

    runner.run_rsync_up(f"{tmp_path}/up/", "~/there/", options={"rsync_exclude": ["*.pyc"]})
    runner.run_rsync_down("~/there/inner/file", str(tmp_path / "back"))

    assert (node(head).home / "there" / "inner" / "file").read_text() == "text"
    assert not (node(head).home / "there" / "left.pyc").exists()
    assert (tmp_path / "back").read_text() == "text"


def test_a_file_mount_outside_of_the_nodes_home_is_refused(provider: LocalNodeProvider, tmp_path: Path) -> None:
    (head,) = create(provider, HEAD)
    runner = provider.get_command_runner("", head, {}, "c", subprocess, False)
    (tmp_path / "file").write_text("text")

    with pytest.raises(InvalidConfigError, match="under `~/`"):
        runner.run_rsync_up(str(tmp_path / "file"), "/etc/elastic-deploy-test")


def test_a_node_that_is_gone_has_no_command_runner(provider: LocalNodeProvider) -> None:
    with pytest.raises(RefusedError, match="is gone"):
        provider.get_command_runner("", "gpu-gone", {}, "c", subprocess, False)


def test_ending_the_last_node_leaves_its_logs_and_nothing_else(
    provider: LocalNodeProvider, home: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    (head,) = create(provider, HEAD)
    state = read("c")
    assert state
    process = run_for_ever(head, started)
    log = node(head).log_dir / "node.log"
    log.write_text("what Ray said")
    ray_logs = Path(node(head).temp_dir) / "ray" / "session_2026" / "logs"
    ray_logs.mkdir(parents=True)
    (ray_logs / "gcs_server.out").write_text("what the GCS said")
    (ray_logs.parent.parent / "session_latest").symlink_to(ray_logs.parent)

    provider.terminate_node(head)

    assert process.wait(5) == -signal.SIGTERM
    assert not Path(state.temp_dir).exists()
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    assert left == [f"c/logs/{head}/node.log", f"c/logs/{head}/ray/gcs_server.out"]
    provider.terminate_node(head)


def test_a_node_whose_vital_process_is_gone_is_ended_wholly_by_whoever_looks(
    provider: LocalNodeProvider, started: list["subprocess.Popen[bytes]"]
) -> None:
    dead, alive = create(provider, WORKER, 2)
    other = subprocess.Popen([*shell_command("c", dead), "exec sleep 60"])
    started.append(other)
    vital = run_for_ever(dead, started)
    run_for_ever(alive, started)
    assert set(provider.non_terminated_nodes({})) == {dead, alive}

    os.kill(vital.pid, signal.SIGKILL)
    vital.wait(5)

    assert provider.is_terminated(dead)
    assert provider.non_terminated_nodes({}) == [alive]
    assert other.wait(5) == -signal.SIGKILL


def test_what_a_process_died_ending_the_next_who_looks_ends(provider: LocalNodeProvider) -> None:
    (worker, other) = create(provider, WORKER, 2)
    gone = processes.ProcessId(pid=2**22 + 1, started=1)
    nodes.change("c", worker, lambda now: replace(now, ended_by=gone))
    assert provider.nodes_for_teardown({}) == [other]


END_ONESELF = """
from elastic_deploy.cluster.local.provider import LocalNodeProvider
provider = LocalNodeProvider({"type": "external"}, "c")
provider.terminate_nodes(provider.nodes_for_teardown({}))
print("still here")
"""


def test_a_process_that_ends_all_nodes_from_one_of_them_ends_the_others_first_and_itself_last(
    provider: LocalNodeProvider, started: list["subprocess.Popen[bytes]"]
) -> None:
    (head,) = create(provider, HEAD)
    (worker,) = create(provider, WORKER)
    on_worker = run_for_ever(worker, started)

    done = subprocess.run(
        [*shell_command("c", head), f"exec python -c '{END_ONESELF}'"], capture_output=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, b"", b"")
    assert on_worker.wait(5) == -signal.SIGTERM
    assert read("c") is None


def test_a_node_that_shares_memory_with_another_leaves_it_until_that_one_ends(
    provider: LocalNodeProvider, started: list["subprocess.Popen[bytes]"], until: Until
) -> None:
    first, second = create(provider, WORKER, 2)
    create(provider, WORKER)
    path = Path("/dev/shm") / f"elastic-deploy-test-{first}"
    share = f'import mmap, time; f = open("{path}", "a+b"); f.truncate(9); m = mmap.mmap(f.fileno(), 9); time.sleep(60)'
    for one in (first, second):
        started.append(subprocess.Popen([*shell_command("c", one), f"exec python -c '{share}'"]))
    until(lambda: all(_maps(process.pid, path) for process in started), 10, "both nodes to map the file")

    provider.terminate_node(first)
    assert path.exists()

    provider.terminate_node(second)
    assert not path.exists()


def _maps(pid: int, path: Path) -> bool:
    return str(path) in Path(f"/proc/{pid}/maps").read_text()


def test_a_refused_launch_raises_the_clouds_code_and_words(provider: LocalNodeProvider) -> None:
    script = {"refuse": {"count": 2, "code": "InsufficientInstanceCapacity", "message": "None left in the zone."}}
    refusing = with_script(script)
    (head,) = create(provider, HEAD)

    for _ in range(2):
        with pytest.raises(NodeLaunchException, match="None left in the zone") as caught:
            create(refusing, WORKER)
        assert caught.value.category == "InsufficientInstanceCapacity"

    (worker,) = create(with_script(script), WORKER)
    assert set(provider.non_terminated_nodes({})) == {head, worker}


def test_a_script_on_disk_replaces_that_of_the_yaml_while_the_cluster_runs(
    provider: LocalNodeProvider, home: Path
) -> None:
    refusing = with_script({"refuse": {}})
    create(provider, HEAD)
    with pytest.raises(NodeLaunchException):
        create(refusing, WORKER)

    on_disk = home / "c" / "local" / "script.json"
    on_disk.write_text('{"max_nodes": 1}')

    create(refusing, WORKER)
    with pytest.raises(NodeLaunchException, match="room for 1 node"):
        create(refusing, WORKER)

    on_disk.write_text("{")
    with pytest.raises(InvalidConfigError, match="not JSON"):
        create(refusing, WORKER)
    on_disk.unlink()


def test_of_a_launch_beyond_max_nodes_those_that_fit_are_made(provider: LocalNodeProvider) -> None:
    with pytest.raises(NodeLaunchException, match="room for 2 nodes"):
        create(with_script({"max_nodes": 2}), WORKER, 3)

    assert len(provider.non_terminated_nodes({})) == 2


def test_a_launch_delay_keeps_the_node_pending_and_blocks_nobody(provider: LocalNodeProvider, until: Until) -> None:
    before = time.monotonic()
    (worker,) = create(with_script({"launch_delay": 0.5}), WORKER)
    assert time.monotonic() - before < 0.4

    assert provider.non_terminated_nodes({}) == [worker]
    assert not provider.is_running(worker)
    assert not provider.is_terminated(worker)
    until(lambda: provider.is_running(worker), 5, "the delay to be over")


def test_a_worker_dies_when_its_time_is_over_and_the_head_does_not(
    provider: LocalNodeProvider, started: list["subprocess.Popen[bytes]"], until: Until
) -> None:
    mortal = with_script({"die_after": 0.5})
    (head,) = create(mortal, HEAD)
    (worker,) = create(mortal, WORKER)
    run_for_ever(head, started)
    process = run_for_ever(worker, started)
    assert len(mortal.non_terminated_nodes({})) == 2

    until(lambda: mortal.non_terminated_nodes({}) == [head], 5, "the worker to die")
    assert process.wait(5) == -signal.SIGKILL
    assert provider.is_running(head)


def test_settings_are_checked_before_anything_is_launched(home: Path) -> None:
    with pytest.raises(InvalidConfigError, match="launch_delay"):
        LocalNodeProvider.bootstrap_config({"provider": {"rehearsal_script": {"launch_delay": "soon"}}})

    assert not home.exists()
