"""`ray up`, `ray exec` and `ray down` on the local template, with real Ray: one cluster that the tests share in order.

Each test leaves the cluster so that the next can go on: a head, and the nodes that it has asked for.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from elastic_deploy.cluster.local import processes
from elastic_deploy.cluster.local.state import Node, State, live_nodes, read, shell_command
from elastic_deploy.runtime.monitor import find_monitor, renew_monitor

pytestmark = pytest.mark.cluster

Until = Callable[[Callable[[], object], float, str], None]
Answer = TypeVar("Answer")

TEMPLATE = Path(__file__).parents[2] / "cluster-templates" / "local.yaml"
RAY = Path(sys.executable).parent / "ray"


@dataclass(frozen=True)
class Cluster:
    """A cluster on a copy of the template, under a name of its own."""

    name: str
    config: Path

    def ray(self, command: str, *arguments: str, status: int = 0) -> str:
        """Run `ray <command>` on the cluster's YAML as a person would; what it printed."""
        done = subprocess.run(
            [str(RAY), command, str(self.config), *arguments], capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def python(self, code: str, timeout: float = 60) -> str:
        """Run Python on the head; what it printed."""
        command = [*shell_command(self.name, self.head.id), 'exec python -c "$CODE"']
        env = {**os.environ, "CODE": f"import ray\nray.init(log_to_driver=False, logging_level='ERROR')\n{code}"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def request(self, gpus: int) -> None:
        """Ask the autoscaler for so many one-GPU bundles."""
        self.python(
            f"from ray.autoscaler.sdk import request_resources; request_resources(bundles=[{{'GPU': 1}}] * {gpus})"
        )

    def joined(self) -> set[str]:
        """The ids of the GPU nodes that Ray's head says are alive."""
        names = self.python(
            "import json\n"
            "alive = [node for node in ray.nodes() if node['Alive'] and 'GPU' in node['Resources']]\n"
            "print(json.dumps([node['NodeName'] for node in alive]))\n"
        )
        return set(json.loads(names.splitlines()[0]))  # what Ray has to say of dead nodes may follow

    @property
    def state(self) -> State:
        state = read(self.name)
        assert state
        return state

    @property
    def head(self) -> Node:
        return next(node for node in live_nodes(self.name) if node.is_head)

    @property
    def workers_up(self) -> list[Node]:
        return [node for node in live_nodes(self.name) if not node.is_head and node.up_since]

    @property
    def monitor_log(self) -> Path:
        return self.head.log_dir / "ray" / "monitor.log"


def make(name: str, directory: Path) -> Cluster:
    settings = f"cluster_name: {name}\nmetadata: {{test: {directory}}}"
    text, replaced = re.subn(r"(?m)^cluster_name: .*$", settings, TEMPLATE.read_text())
    assert replaced == 1
    config = directory / f"{name}.yaml"
    config.write_text(text)
    return Cluster(name, config)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the YAMLs, with ELASTIC_DEPLOY_HOME in it."""
    path = tmp_path_factory.mktemp("ray_up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELASTIC_DEPLOY_HOME", str(path / "home"))
        yield path


@pytest.fixture(scope="module")
def cluster(directory: Path) -> Iterator[Cluster]:
    made = make("shared", directory)
    made.ray("up", "-y")
    yield made
    if read(made.name):  # where a test failed
        made.ray("down", "-y")


def everything_of(state: State) -> dict[processes.ProcessId, str]:
    found: dict[processes.ProcessId, str] = {}
    for node in state.nodes.values():
        found |= processes.find(node.mark, node.sessions)
    return found


def ask_each(state: State, question: Callable[[psutil.Process], Answer]) -> list[Answer]:
    """What each process of the cluster answers; those that end meanwhile do not."""
    answers = []
    for process in everything_of(state):
        with contextlib.suppress(psutil.NoSuchProcess):
            answers.append(question(psutil.Process(process.pid)))
    return answers


def assert_nothing_is_left(
    cluster: Cluster, home: Path, before: State, running: dict[processes.ProcessId, str]
) -> None:
    assert [name for process, name in running.items() if process.is_alive()] == []
    assert everything_of(before) == {}
    assert not Path(before.temp_dir).exists()
    for port in (before.ports.gcs, before.ports.autoscaler_metrics, before.ports.dashboard_metrics):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still served"
    assert [path.name for path in (home / cluster.name).iterdir()] == ["logs"]


def test_ray_up_starts_a_head_and_ray_exec_runs_on_it(cluster: Cluster) -> None:
    shown = cluster.ray("exec", "echo on $ELASTIC_DEPLOY_NODE")

    assert f"on shared/{cluster.head.id}" in shown


def test_two_requested_gpus_come_as_two_nodes(cluster: Cluster, until: Until) -> None:
    cluster.request(2)

    until(lambda: len(cluster.workers_up) == 2, 60, "two nodes to be up")

    assert cluster.joined() == {node.id for node in cluster.workers_up}


def test_nothing_of_the_cluster_listens_beyond_the_loopback_interface(cluster: Cluster) -> None:
    sockets = ask_each(cluster.state, lambda process: process.net_connections("inet"))
    listening = [one.laddr.ip for those in sockets for one in those if one.status == psutil.CONN_LISTEN]

    assert listening
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_a_stranger_without_the_token_is_refused(cluster: Cluster) -> None:
    address = f"127.0.0.1:{cluster.state.ports.gcs}"
    code = f"from ray._raylet import GcsClient; print(GcsClient('{address}').get_all_node_info(timeout=5))"
    stranger = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**stranger, "HOME": str(cluster.config.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "nauthenticated" in done.stderr or "uthentication" in done.stderr


def test_no_secret_stands_in_an_argument_or_a_log(cluster: Cluster, directory: Path) -> None:
    token = (directory / "home" / cluster.name / "ray-token").read_text()

    for arguments in ask_each(cluster.state, lambda process: process.cmdline()):
        assert token not in " ".join(arguments)
    for log in (directory / "home" / cluster.name / "logs").glob("**/*"):
        assert not log.is_file() or token not in log.read_text(errors="replace"), log


def test_environment_of_an_actor_can_be_set_by_runtime_env(cluster: Cluster) -> None:
    seen = cluster.python(
        "import os\n"
        "f = ray.remote(num_gpus=1, runtime_env={'env_vars': {'SET': 'here'}})(lambda: dict(os.environ))\n"
        "seen = ray.get(f.remote(), timeout=30)\n"
        "print(seen['SET'], seen['ELASTIC_DEPLOY_NODE'])\n"
    )

    assert seen.split() == ["here", seen.split()[1]]
    assert seen.split()[1] in {node.mark for node in cluster.workers_up}


def test_a_killed_raylet_is_noticed_and_its_node_replaced(cluster: Cluster, until: Until) -> None:
    before = {node.id for node in cluster.workers_up}
    victim = cluster.workers_up[0]
    (raylet,) = victim.vital
    belonged = everything_of(State(cluster.state.ports, "", {victim.id: victim}))

    os.kill(raylet.pid, signal.SIGKILL)

    until(lambda: victim.id not in cluster.state.nodes, 10, "the provider to notice")
    until(lambda: not any(process.is_alive() for process in belonged), 10, "the rest of the node to be gone")
    until(lambda: victim.id not in cluster.joined(), 20, "Ray to declare the node dead")
    until(lambda: len(cluster.workers_up) == 2, 60, "a replacement to be up")
    assert len({node.id for node in cluster.workers_up} - before) == 1


def test_a_renewed_autoscaler_forgets_no_node_and_gives_no_id_twice(cluster: Cluster, until: Until) -> None:
    before = {node.id for node in cluster.workers_up}
    everyone = ask_each(cluster.state, lambda process: (process, process.cmdline()))
    ((monitor, argv),) = (one for one in everyone if any(part.endswith("v2/monitor.py") for part in one[1]))
    (address,) = (part.partition("=")[2] for part in argv if part.startswith("--gcs-address="))
    lines = len(cluster.monitor_log.read_text().splitlines())

    assert renew_monitor(address)
    assert not monitor.is_running() or monitor.status() == psutil.STATUS_ZOMBIE
    until(lambda: find_monitor(address) == tuple(argv), 20, "the autoscaler to run again as it was")
    cluster.request(3)

    until(lambda: len(cluster.workers_up) == 3, 60, "a third node")
    assert before < {node.id for node in cluster.workers_up}
    assert "Traceback" not in "\n".join(cluster.monitor_log.read_text().splitlines()[lines:])


def test_no_autoscaler_is_renewed_where_none_runs() -> None:
    assert not renew_monitor("127.0.0.1:1")


def test_a_refused_launch_stands_in_the_monitors_log_and_ends_with_the_script(cluster: Cluster, until: Until) -> None:
    script = cluster.head.home.parents[1] / "script.json"
    words = "There is no Spot capacity in eu-north-1a."
    script.write_text(json.dumps({"refuse": {"code": "InsufficientInstanceCapacity", "message": words}}))
    cluster.request(4)

    line = f"Failed to launch 1 nodes of type gpu: Node Launch Exception (InsufficientInstanceCapacity): {words}"
    until(lambda: line in cluster.monitor_log.read_text(), 20, "the refusal in the monitor's log")
    assert len(cluster.workers_up) == 3

    script.unlink()
    until(lambda: len(cluster.workers_up) == 4, 60, "the fourth node, when launches are granted again")


def test_a_second_cluster_lives_beside_the_first_and_ray_down_ends_only_its_own(
    cluster: Cluster, directory: Path, until: Until
) -> None:
    first = {node.id for node in cluster.workers_up}
    second = make("beside", directory)
    second.ray("up", "-y")
    second.request(1)
    until(lambda: len(second.workers_up) == 1, 60, "a node of the second cluster")
    state = second.state
    running = everything_of(state)
    assert running

    second.ray("down", "-y")

    assert_nothing_is_left(second, directory / "home", state, running)
    assert cluster.joined() == first


def test_ray_down_leaves_logs_and_nothing_else_and_succeeds_again(cluster: Cluster, directory: Path) -> None:
    state = cluster.state
    running = everything_of(state)
    logs = cluster.head.log_dir

    cluster.ray("down", "-y")

    assert_nothing_is_left(cluster, directory / "home", state, running)
    assert (logs / "ray" / "monitor.log").is_file()
    cluster.ray("down", "-y")
    cached = [path for path in Path(tempfile.gettempdir()).glob("ray-config-*") if str(directory) in path.read_text()]
    assert cached == []
