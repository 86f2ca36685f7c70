"""What the runtime reads and does in Ray, against one small real Ray of this test's own."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import ray
from ray.core.generated import autoscaler_pb2
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from elastic_deploy.model.names import ENGINE_MARK, NAMESPACE, EngineName, GroupName
from elastic_deploy.runtime import engine_record, ray_tables
from elastic_deploy.runtime.engine_logs import EngineLogs
from elastic_deploy.runtime.engine_record import EngineRecord, SweepRecord
from elastic_deploy.runtime.monitor import find_monitor, start_monitor
from elastic_deploy.runtime.ray_tables import PendingNode, RayActor, RayGroup, RayNode
from elastic_deploy.runtime.sweep import sweep

pytestmark = pytest.mark.cluster

T = TypeVar("T")
RAY = Path(sys.executable).parent / "ray"
ENGINE = EngineName("chat", "r0", 3)


def wait_for(look: Callable[[], T | None], seconds: float = 30.0) -> T:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def gcs() -> Iterator[str]:
    """A Ray of one node with two GPUs that are numbers, by its GCS address; its files in a directory."""
    directory = Path(tempfile.mkdtemp(prefix="ed-test-"))  # short: Ray's sockets lie below it
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(directory))
        patch.setenv("RAY_TMPDIR", str(directory))
        # No token: this process has read Ray's settings when it imported Ray.
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_enable_autoscaler_v2", "1")
        patch.setenv("RAY_health_check_initial_delay_ms", "1000")
        patch.setenv("RAY_health_check_period_ms", "1000")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        port = _free_port()
        arguments = [
            "--node-ip-address=127.0.0.1",
            f"--port={port}",
            "--num-cpus=2",
            "--num-gpus=2",
            "--include-dashboard=false",
        ]
        head = RayProcess(
            "--head", *arguments, f"--temp-dir={directory / 'ray'}", f"--ray-client-server-port={_free_port()}"
        )
        address = f"{ray.util.get_node_ip_address()}:{port}"
        try:
            wait_for(lambda: head.ended() or _accepts(address), 60)
            assert not head.ended()
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
            yield address
        finally:
            ray.shutdown()
            head.end()
            shutil.rmtree(directory, ignore_errors=True)


class RayProcess:
    """`ray start` with everything that it starts, in a session of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [str(RAY), "start", "--block", "--object-store-memory=80000000", *arguments],
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.node = ""

    def ended(self) -> bool:
        """Whether it has ended by itself, which it never should."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Kill every process of the session."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self._process.pid:
                    process.kill()
        self._process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


@ray.remote(num_cpus=0)
class Sleeper:
    """An actor that does nothing."""

    def pid(self) -> int:
        return os.getpid()


def table_of(group: Any) -> RayGroup:
    return next(one for one in ray_tables.groups() if one.id == group.id.hex())


def actor_named(name: str) -> RayActor | None:
    return next((one for one in ray_tables.actors() if one.name == name), None)


def test_the_head_is_seen_with_its_gpus_and_its_raylet_answers(gcs: str) -> None:
    [head] = ray_tables.nodes(ray_tables.gcs_client())
    assert isinstance(head, RayNode)
    assert (head.alive, head.draining, head.is_head, head.gpus, head.death) == (True, False, True, 2, "")
    assert head.id == ray.get_runtime_context().get_node_id()
    assert gcs.startswith(head.address)
    with socket.create_connection((head.address, head.port), timeout=5):
        pass
    assert ray_tables.session_name().startswith("session_")


def test_a_group_is_seen_from_pending_to_removed_with_a_node_for_each_bundle(gcs: str) -> None:
    del gcs
    name = GroupName("chat", "r0")
    here = ray.get_runtime_context().get_node_id()
    too_much = placement_group(
        [{"GPU": 1.0}] * 3, strategy="PACK", name=str(GroupName("chat", "r1")), lifetime="detached"
    )
    group = placement_group([{"GPU": 1.0}] * 2, strategy="PACK", name=str(name), lifetime="detached")
    assert group.wait(30)
    assert table_of(group) == RayGroup(group.id.hex(), str(name), "CREATED", (here, here))
    assert table_of(too_much) == RayGroup(too_much.id.hex(), "group/chat/r1", "PENDING", ("", "", ""))
    remove_placement_group(group)
    remove_placement_group(too_much)
    removed = wait_for(lambda: next((one for one in [table_of(group)] if one.state == "REMOVED"), None))
    assert removed.name == str(name)


def test_bundles_keep_their_order_however_many_there_are(gcs: str) -> None:
    """Sorted as text, bundle 10 would come before bundle 2: the members of a gang would seem to have moved."""
    del gcs
    other = _second_node()
    try:
        head = ray.get_runtime_context().get_node_id()
        bundles = [{"elsewhere" if index == 10 else "node:__internal_head__": 0.01} for index in range(12)]
        group = placement_group(bundles, strategy="PACK")
        assert group.wait(30)
        assert table_of(group).nodes == (*(head,) * 10, other.node, head)
        remove_placement_group(group)
    finally:
        other.end()


def _second_node() -> RayProcess:
    """A node with a GPU and a resource `elsewhere` that the head has not, joined."""
    client = ray_tables.gcs_client()
    before = {node.id for node in ray_tables.nodes(client)}
    address = ray.get_runtime_context().gcs_address
    given = ("--num-cpus=1", "--num-gpus=1", '--resources={"elsewhere": 1}')
    process = RayProcess(f"--address={address}", *given, RAY_CLOUD_INSTANCE_ID="i-0abc", RAY_NODE_TYPE_NAME="gpu.1x")
    try:
        process.node = wait_for(lambda: next((n.id for n in ray_tables.nodes(client) if n.id not in before), ""), 60)
    except AssertionError:
        process.end()
        raise
    return process


def test_a_node_brings_its_cloud_id_and_type_and_its_death_is_seen_in_nodes_groups_and_actors(gcs: str) -> None:
    del gcs
    client = ray_tables.gcs_client()
    other = _second_node()
    node = other.node
    try:
        seen = next(one for one in ray_tables.nodes(client) if one.id == node)
        assert (seen.instance_id, seen.type, seen.alive, seen.gpus, seen.is_head) == (
            "i-0abc",
            "gpu.1x",
            True,
            1,
            False,
        )
        group = placement_group([{"GPU": 1.0}] * 3, name=str(GroupName("chat", "r0")), lifetime="detached")
        assert group.wait(30)
        placed = table_of(group)
        assert placed.nodes.count(node) == 1
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=placed.nodes.index(node))
        actor = Sleeper.options(  # type: ignore[attr-defined]
            name=str(ENGINE), lifetime="detached", scheduling_strategy=strategy
        ).remote()
        pid = ray.get(actor.pid.remote(), timeout=60)
        running = actor_named(str(ENGINE))
        assert running is not None
        assert (running.namespace, running.state, running.death) == (NAMESPACE, "ALIVE", "")
        assert (running.node, running.pid, running.group_id) == (node, pid, group.id.hex())
        assert abs(running.started_at / 1000 - time.time()) < 60
    finally:
        other.end()

    dead = wait_for(lambda: next((one for one in ray_tables.nodes(client) if one.id == node and not one.alive), None))
    assert dead.death
    assert dead.instance_id == "i-0abc"
    lost = wait_for(lambda: next((one for one in [table_of(group)] if one.state == "RESCHEDULING"), None))
    assert len(lost.nodes) == 3
    ended = wait_for(lambda: next((one for one in [actor_named(str(ENGINE))] if one and one.state == "DEAD"), None))
    assert (ended.node, ended.group_id) == (node, group.id.hex())
    assert ended.death
    remove_placement_group(group)


def test_an_actor_without_a_group_has_none_and_its_end_has_a_reason(gcs: str) -> None:
    del gcs
    head = {"node:__internal_head__": 0.01}
    actor = Sleeper.options(name="alone", lifetime="detached", resources=head).remote()  # type: ignore[attr-defined]
    ray.get(actor.pid.remote(), timeout=60)
    alone = actor_named("alone")
    assert alone is not None
    assert (alone.group_id, alone.state) == ("", "ALIVE")
    ray.kill(actor)
    ended = wait_for(lambda: next((one for one in [actor_named("alone")] if one and one.state == "DEAD"), None))
    assert "killed" in ended.death


def test_what_engines_publish_is_found_by_name_until_it_is_forgotten(gcs: str) -> None:
    del gcs
    assert engine_record.get_engine(ENGINE) is None
    assert engine_record.get_sweep(ENGINE) is None
    record = EngineRecord("http://10.0.0.7:8123", 4711, "engine.log")
    engine_record.put_engine(ENGINE, record)
    assert engine_record.get_engine(ENGINE) == record
    ended = replace(record, ended=True, refused_arguments=True, last_words="error: café")
    engine_record.put_engine(ENGINE, ended)
    engine_record.put_sweep(ENGINE, SweepRecord(3, "killed"))
    assert engine_record.get_engine(ENGINE) == ended
    assert engine_record.get_sweep(ENGINE) == SweepRecord(3, "killed")
    assert engine_record.get_engine(replace(ENGINE, generation=4)) is None
    engine_record.forget(ENGINE)
    assert engine_record.get_engine(ENGINE) is None
    assert engine_record.get_sweep(ENGINE) is None


def test_a_record_of_a_later_version_is_understood(gcs: str) -> None:
    del gcs
    raw = b'{"address": "http://a", "pid": 1, "log": "l", "mood": "of a later version"}'
    ray.experimental.internal_kv._internal_kv_put(str(ENGINE).encode(), raw, namespace=NAMESPACE.encode())
    assert engine_record.get_engine(ENGINE) == EngineRecord("http://a", 1, "l")
    engine_record.forget(ENGINE)


def test_the_sweep_task_ends_what_an_engine_left_and_brings_its_last_words(gcs: str, tmp_path: Path) -> None:
    del gcs
    log = tmp_path / "engine.log"
    log.write_text("INFO starting\nValueError: No available memory for the cache blocks.\n")
    name = EngineName(f"test-{os.getpid()}", "r0", 1)
    env = os.environ | {ENGINE_MARK: str(name)}
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], env=env)
    try:
        found = ray.get(sweep.remote(str(name), frozenset(), str(log), time.time()), timeout=60)
        assert found == (1, "ValueError: No available memory for the cache blocks.")
        assert left.wait(10) == -signal.SIGKILL
        assert ray.get(sweep.remote(str(name), frozenset(), "no log", time.time()), timeout=60) == (0, "")
    finally:
        left.kill()
        left.wait(10)


def test_logs_are_read_and_followed_where_they_lie_from_one_engine_to_the_next(gcs: str, tmp_path: Path) -> None:
    del gcs
    here = ray.get_runtime_context().get_node_id()
    successor = replace(ENGINE, generation=ENGINE.generation + 1)
    logs = {name: tmp_path / f"g{name.generation}.log" for name in (ENGINE, successor)}
    logs[ENGINE].write_bytes(b"one\ntwo\nthree caf\xc3")
    for name, log in logs.items():
        engine_record.put_engine(name, EngineRecord("http://a", 1, str(log)))
    current = [(ENGINE, here)]

    async def follow() -> None:
        reader = EngineLogs().read(lambda: current, 2, follow=True)

        async def line() -> tuple[str, str]:
            told = await asyncio.wait_for(anext(reader), 60)
            return told["engine"], told["line"]

        assert await line() == (str(ENGINE), "two")
        with logs[ENGINE].open("ab") as written:
            written.write(b"\xa9\nits last words\n")
        logs[successor].write_text("a new\nstart\nin full\n")
        current[:] = [(successor, here)]
        told = [await line() for _ in range(5)]
        assert [text for engine, text in told if engine == str(ENGINE)] == ["three café", "its last words"]
        assert [text for engine, text in told if engine == str(successor)] == ["a new", "start", "in full"]
        await reader.aclose()

    async def read(lines: int) -> list[str]:
        return [told["line"] async for told in EngineLogs().read(lambda: [(ENGINE, here)], lines, follow=False)]

    asyncio.run(follow())
    with logs[ENGINE].open("ab") as file:
        file.write(b"killed in the mid")
    assert asyncio.run(read(2)) == ["its last words", "killed in the mid"]
    assert asyncio.run(read(0)) == []
    for name in logs:
        engine_record.forget(name)


def test_the_monitor_is_found_by_its_cluster_its_death_is_seen_and_it_can_be_started_again(gcs: str) -> None:
    command = find_monitor(gcs)
    assert command
    assert find_monitor("127.0.0.1:1") == ()
    try:
        _kill_monitor(command)
        assert find_monitor(gcs) == ()
        _nodes_on_their_way_are_counted_by_type()
    finally:
        start_monitor(command)
    assert wait_for(lambda: find_monitor(gcs)) == command
    [process] = [one for one in psutil.process_iter() if _command(one) == list(command)]
    assert process.ppid() != os.getpid(), "it must outlive who started it"
    _kill_monitor(command)


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _kill_monitor(command: tuple[str, ...]) -> None:
    for process in psutil.process_iter():
        if _command(process) == list(command):
            process.kill()
    wait_for(lambda: all(_command(one) != list(command) for one in psutil.process_iter()))


def _nodes_on_their_way_are_counted_by_type() -> None:
    """As the autoscaler reports them: one entry for each call to the cloud, so a type may stand there twice."""
    client = ray_tables.gcs_client()
    request, instance = autoscaler_pb2.PendingInstanceRequest, autoscaler_pb2.PendingInstance
    state = autoscaler_pb2.AutoscalingState(
        autoscaler_state_version=1 << 40,
        pending_instance_requests=[
            request(ray_node_type_name="gpu", count=2),
            request(ray_node_type_name="cpu", count=1),
            request(ray_node_type_name="gpu", count=1),
        ],
        pending_instances=[instance(instance_id="u-1", ray_node_type_name="gpu", details="installing")],
    )
    client.report_autoscaling_state(state.SerializeToString())
    assert ray_tables.pending_nodes(client) == [
        PendingNode("u-1", "gpu", True, "installing"),
        PendingNode("gpu-asked-1", "gpu", False, ""),
        PendingNode("gpu-asked-2", "gpu", False, ""),
        PendingNode("cpu-asked-1", "cpu", False, ""),
        PendingNode("gpu-asked-3", "gpu", False, ""),
    ]
