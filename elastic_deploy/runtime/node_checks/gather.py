"""Finds the facts on a cluster that runs: a probe, which is a Ray actor without CPUs, on every node.

Called by the agent, connected to Ray as a driver. Every wait has a limit: a node that does not answer becomes a fact.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.core.generated import gcs_pb2
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from elastic_deploy.runtime.node_checks import ports, wire
from elastic_deploy.runtime.node_checks.facts import ClusterFacts, Knock, Link, Listener, NodeFacts, Path
from elastic_deploy.runtime.node_checks.node import node_facts
from elastic_deploy.runtime.ray_tables import TIMEOUT, gcs_client, session_name

STARTS_WITHIN = 45.0
"""Seconds for all probes together: a worker process starts and imports."""
ANSWERS_WITHIN = 60.0
"""Seconds for what the probes do all at once."""
LINKS_AT_MOST = 16
"""Pairs whose speed is measured, one after the other, so that they do not disturb each other: a second each."""
RECENT_DEATH = 600.0
"""Seconds for which an unexpected death is told: later, it was replaced or is told by `events`."""
_AT_ONCE = 32


class _Probe:
    """Lives on one node for the length of the checks."""

    def __init__(self) -> None:
        self._listening = wire.Listening()

    def listening(self) -> tuple[int, bytes]:
        return self._listening.port, self._listening.secret

    def facts(self, node: str, gpus: int, marks: tuple[str, ...]) -> NodeFacts:
        return node_facts(node, gpus, marks)

    def reach(self, targets: list[tuple[str, str, str, int]]) -> list[tuple[str, str, int, str]]:
        """Why each (node, what, address, port) cannot be connected to."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            errors = pool.map(lambda target: wire.reach(target[2], target[3]), targets)
            return [(node, what, port, error) for (node, what, _, port), error in zip(targets, errors, strict=True)]

    def link(self, host: str, port: int, secret: bytes) -> tuple[float, float] | None:
        try:
            return wire.look_at_clock(host, port, secret)[0], wire.stream(host, port, secret)
        except (OSError, EOFError):
            return None  # `reach` says why

    def knock(self, host: str, found: list[Listener]) -> list[tuple[Listener, Any, str]]:
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda one: ports.knock(_address(one, host), one.port), found)
            return [(one, *answer) for one, answer in zip(found, answers, strict=True)]


def _address(listener: Listener, host: str) -> str:
    return host if listener.address in ("0.0.0.0", "::", "*") else listener.address


def gather() -> ClusterFacts:
    """All facts, in two minutes at the most for a small cluster. Must be connected to Ray."""
    alive, dead = _known(time.time())
    addresses = {name: info.node_manager_address for name, info in alive.items()}
    probe_class = ray.remote(num_cpus=0, max_restarts=0)(_Probe)
    probes = {
        name: probe_class.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(info.node_id.hex(), soft=False)
        ).remote()
        for name, info in alive.items()
    }
    silent: dict[str, str] = {}

    def ask(what: str, limit: float, asked: dict[str, Any]) -> dict[str, Any]:
        answers, errors = _answers(asked, limit, what)
        for name, error in errors.items():
            silent.setdefault(name, error)
        return answers

    try:
        doors = ask("start a probe", STARTS_WITHIN, {name: one.listening.remote() for name, one in probes.items()})
        marks = (session_name(), f"--address={ray.get_runtime_context().gcs_address}")
        asked = {name: probes[name].facts.remote(name, _gpus(alive[name]), marks) for name in doors}
        nodes: dict[str, NodeFacts] = ask("tell of itself", ANSWERS_WITHIN, asked)
        reached = ask(
            "connect to the others",
            ANSWERS_WITHIN,
            {name: probes[name].reach.remote(_targets(name, alive, doors)) for name in nodes},
        )
        paths = tuple(
            Path(source, target, what, port, error)
            for source, found in reached.items()
            for target, what, port, error in found
        )
        return ClusterFacts(
            addresses=addresses,
            nodes=tuple(nodes.values()),
            dead=dead,
            silent=silent,
            paths=paths,
            links=_links(list(nodes), addresses, doors, probes, paths),
            clocks=_clocks(addresses, doors),
            knocks=_knocks(nodes, addresses, doors, probes, ask),
        )
    finally:
        for one in probes.values():
            ray.kill(one)


def _known(now: float) -> tuple[dict[str, Any], dict[str, str]]:
    """The nodes that Ray takes for alive, by name, and the recent unexpected deaths with why."""
    alive: dict[str, Any] = {}
    dead: dict[str, str] = {}
    for info in gcs_client().get_all_node_info(timeout=TIMEOUT).values():
        name = info.instance_id or info.node_id.hex()
        if info.state == gcs_pb2.GcsNodeInfo.ALIVE:
            # Nodes without an instance of their own would hide each other.
            alive[name if name not in alive else info.node_id.hex()] = info
        elif _unexpected(info.death_info) and now - info.end_time_ms / 1000 < RECENT_DEATH:
            dead[name] = info.death_info.reason_message or "Ray gives no reason"
    return alive, {name: why for name, why in dead.items() if name not in alive}


def _unexpected(death: Any) -> bool:
    reasons = death.DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number
    return "UNEXPECTED" in reasons[death.reason].name


def _gpus(info: Any) -> int:
    return int(info.resources_total.get("GPU", 0))


def _answers(asked: dict[str, Any], limit: float, what: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The answers that came within `limit` seconds, and why the others did not."""
    if not asked:
        return {}, {}
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit)
    answers, errors = {}, {}
    for name, reference in asked.items():
        if reference not in ready:
            errors[name] = f"it did not {what} within {limit:.0f} s"
            continue
        try:
            answers[name] = ray.get(reference, timeout=TIMEOUT)
        except Exception as error:  # noqa: BLE001 (Ray raises what the probe met, of any kind)
            errors[name] = f"it could not {what}: {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    return answers, errors


def _targets(source: str, alive: dict[str, Any], doors: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """What a node should reach of all others, the silent ones among them."""
    found = []
    for name, info in alive.items():
        if name == source:
            continue
        address = info.node_manager_address
        found.append((name, "raylet", address, info.node_manager_port))
        found.append((name, "object manager", address, info.object_manager_port))
        if name in doors:
            found.append((name, "ephemeral ports", address, doors[name][0]))
    return found


def _links(
    names: Sequence[str],
    addresses: dict[str, str],
    doors: dict[str, Any],
    probes: dict[str, Any],
    paths: Sequence[Path],
) -> tuple[Link, ...]:
    """A ring, or a sample of it where it is long, one pair after the other; cut pairs are left out."""
    broken = {(path.source, path.target) for path in paths if path.error}
    ring = [] if len(names) < 2 else [(name, names[(i + 1) % len(names)]) for i, name in enumerate(names)]
    step = max(1, -(-len(ring) // LINKS_AT_MOST))
    found = []
    for source, target in ring[::step]:
        if (source, target) in broken:
            continue
        asked = {source: probes[source].link.remote(addresses[target], *doors[target])}
        measured, _ = _answers(asked, wire.STREAM_SECONDS + TIMEOUT, "measure a link")
        if measured.get(source):
            found.append(Link(source, target, *measured[source]))
    return tuple(found)


def _clocks(addresses: dict[str, str], doors: dict[str, Any]) -> dict[str, float]:
    found = {}
    for name, door in doors.items():
        try:
            found[name] = wire.look_at_clock(addresses[name], *door)[1]
        except (OSError, EOFError):
            continue  # `reach` says why
    return found


def _knocks(
    nodes: dict[str, NodeFacts],
    addresses: dict[str, str],
    doors: dict[str, Any],
    probes: dict[str, Any],
    ask: Callable[[str, float, dict[str, Any]], dict[str, Any]],
) -> tuple[Knock, ...]:
    """What a stranger gets at each node's ports, asked from that node by its own address: a port that only the
    security group closes is open to every other process in it. Nodes that share an address are asked once.
    """
    # The probes' own ports are there for the length of the checks only, and let nobody in without their secret.
    seen = {(addresses[name], door[0]) for name, door in doors.items()}
    asked = {}
    for name, facts in nodes.items():
        mine = [one for one in facts.listeners if (addresses[name], one.port) not in seen]
        seen |= {(addresses[name], one.port) for one in mine}
        asked[name] = probes[name].knock.remote(addresses[name], mine)
    answers = ask("knock at its ports", ANSWERS_WITHIN, asked)
    return tuple(Knock(name, *one) for name, found in answers.items() for one in found)
