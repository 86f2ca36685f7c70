"""What can befall a history: each fault as a value that hypothesis makes and shows, and what it does to a play."""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from elastic_deploy.model.shape import Shape

from .play import Play

Deed = Callable[[Play, int], None]


@dataclass(frozen=True)
class Fault:
    """After `gap` quiet seconds, the deed of this name, with a number that picks the victim or the length."""

    gap: int
    name: str
    number: int


def _node_dies(play: Play, number: int) -> None:
    play.world.machines.kill(number, play.now, detected_after=1 + number % 20)


def _node_dies_and_wedges(play: Play, number: int) -> None:
    play.world.wedging_deaths = True
    play.world.machines.kill(number, play.now, detected_after=1 + number * 3 % 70)


def _two_nodes_die(play: Play, number: int) -> None:
    _node_dies(play, number)
    play.world.machines.kill(number + 1, play.now, detected_after=1 + number % 5)


def _two_nodes_are_cut(play: Play, number: int) -> None:
    play.world.machines.cut(number, play.now)


def _node_gets_notice(play: Play, number: int) -> None:
    play.world.machines.take(number, play.now, within=120.0 if number % 2 else 10.0 + number)


def _engine_crashes(play: Play, number: int) -> None:
    if engines := list(play.world.engines.values()):
        engine = engines[number % len(engines)]
        engine.ends_at = min(engine.ends_at, play.now)


def _engine_wedges(play: Play, number: int) -> None:
    if engines := list(play.world.engines.values()):
        engines[number % len(engines)].wedges_at = play.now


def _engine_vanishes(play: Play, number: int) -> None:
    if engines := list(play.world.engines.values()):
        engine = engines[number % len(engines)]
        engine.forgotten, engine.ends_at = True, play.now
        engine.hosts.clear()


def _group_is_removed_by_hand(play: Play, number: int) -> None:
    if names := sorted(play.world.machines.groups):
        play.world.machines.groups.pop(names[number % len(names)])
        for engine in play.world.engines.values():
            if engine.name.group == names[number % len(names)]:
                engine.ends_at = min(engine.ends_at, play.now)


def _starts_fail(play: Play, number: int) -> None:
    play.world.failing_starts = number % 4


def _arguments_are_refused(play: Play, _: int) -> None:
    play.world.hopeless_starts = 1


def _cloud_refuses(play: Play, number: int) -> None:
    play.world.machines.refusing_until = play.now + number


def _monitor_dies(play: Play, number: int) -> None:
    play.world.machines.monitor_dead_until = play.now + number


def _request_is_lost(play: Play, number: int) -> None:
    if play.memory.request:  # who asks for nothing does not guard the slot
        play.world.machines.requested = number % 3


def _sweeps_take_long(play: Play, number: int) -> None:
    play.world.sweep = float(number % 12)


def _engines_end_late(play: Play, number: int) -> None:
    play.world.notice = float(number % 15)


def _blind_to(*readings: str) -> Deed:
    def deed(play: Play, number: int) -> None:
        for reading in readings:
            play.world.blind_until[reading] = play.now + 1 + number % 20

    return deed


def _actions_fail(play: Play, number: int) -> None:
    play.failing_until = play.now + 1 + number % 15


def _actions_come_late(play: Play, number: int) -> None:
    play.late_until = play.now + 1 + number % 15


def _actions_come_twice(play: Play, number: int) -> None:
    play.twice_until = play.now + 1 + number % 15


def _replicas_change(play: Play, number: int) -> None:
    shape = play.spec.deployments[0].shape
    play.change("chat", shape=Shape(shape.tensor_parallel, 1, 1 + number % 3))


def _size_changes(play: Play, number: int) -> None:
    play.change("chat", shape=Shape(1 + number % 2, 1, play.spec.deployments[0].shape.replicas))


def _arguments_change(play: Play, number: int) -> None:
    play.change("chat", engine_arguments=("--seed", str(number)))


def _version_is_broken(play: Play, number: int) -> None:
    play.change("chat", engine_arguments=("--seed", str(number)))
    play.world.bad_versions.add(play.spec.deployments[0].fingerprint)


def _clients_stay_long(play: Play, number: int) -> None:
    for engine in play.world.engines.values():
        engine.busy_until = play.now + number


def _room_changes(play: Play, number: int) -> None:
    play.change("chat", surge=bool(number % 2))


def _stopped(play: Play, _: int) -> None:
    play.stop("chat")


def _applied(play: Play, _: int) -> None:
    play.change("chat", wanted=True)


DEEDS: dict[str, Deed] = {
    "a node dies": _node_dies,
    "a node dies and its engine wedges": _node_dies_and_wedges,
    "two nodes die": _two_nodes_die,
    "two nodes do not reach each other": _two_nodes_are_cut,
    "a node gets notice": _node_gets_notice,
    "an engine crashes": _engine_crashes,
    "an engine wedges": _engine_wedges,
    "an engine vanishes": _engine_vanishes,
    "a group is removed by hand": _group_is_removed_by_hand,
    "the next starts fail": _starts_fail,
    "the arguments are refused once": _arguments_are_refused,
    "the cloud refuses": _cloud_refuses,
    "the monitor dies": _monitor_dies,
    "the request is overwritten": _request_is_lost,
    "sweeps take long": _sweeps_take_long,
    "engines end late": _engines_end_late,
    "the nodes are not seen": _blind_to("nodes"),
    "the groups are not seen": _blind_to("groups"),
    "the engines are not seen": _blind_to("engines"),
    "nothing is seen": _blind_to("nodes", "groups", "engines"),
    "actions fail": _actions_fail,
    "actions come late": _actions_come_late,
    "actions come twice": _actions_come_twice,
    "the supervisor is killed": lambda play, _: play.restart(),
    "the supervisor is killed before it acts": lambda play, _: play.restart_before_acting(),
    "the supervisor comes back without its memory": lambda play, _: play.restart(forget=True),
    "the number of replicas changes": _replicas_change,
    "the tensor parallel size changes": _size_changes,
    "the engine's arguments change": _arguments_change,
    "the engine's arguments change to broken ones": _version_is_broken,
    "clients have long streams": _clients_stay_long,
    "there is another room for a surge": _room_changes,
    "it is stopped": _stopped,
    "it is applied": _applied,
}

USERS = (
    "the number of replicas changes",
    "the tensor parallel size changes",
    "the engine's arguments change",
    "the engine's arguments change to broken ones",
    "it is stopped",
    "it is applied",
)
"""What the user does, and no accident."""

FAULTS = st.builds(Fault, st.integers(0, 12), st.sampled_from(sorted(DEEDS)), st.integers(0, 40))
ACCIDENTS = st.builds(Fault, st.integers(0, 12), st.sampled_from(sorted(DEEDS.keys() - USERS)), st.integers(0, 40))


def befall(play: Play, fault: Fault) -> None:
    """Let a fault happen in a play, after its quiet seconds."""
    play.run(fault.gap)
    play.log.append((play.now, fault))
    DEEDS[fault.name](play, fault.number)


def end_faults(play: Play) -> None:
    """From now on nothing goes wrong by itself any more."""
    world = play.world
    world.wedging_deaths = False
    world.failing_starts = world.hopeless_starts = 0
    world.sweep, world.notice = 1.0, 2.0
    world.blind_until.clear()
    world.machines.refusing_until = world.machines.monitor_dead_until = 0.0
    play.failing_until = play.late_until = play.twice_until = 0.0
