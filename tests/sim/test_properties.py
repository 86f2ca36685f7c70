"""Properties of `decide` over generated histories of faults.

Every step of every history is checked by `Play`: the invariants, the legal turns of a phase, that the same input gives
the same decision, that no engine with which nothing is wrong is ended, that no two engines share a replica's GPUs.
`ELASTIC_DEPLOY_SIM_EXAMPLES` sets how many histories each property has (default 300: half a minute of one processor
for all five).
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec, OnFailure

from .clients import Clients
from .faults import ACCIDENTS, FAULTS, Fault, befall, end_faults
from .machines import Machines
from .play import Play
from .world import World

pytestmark = pytest.mark.timeout(7200)  # the heavy run; the default takes a minute or two
EXAMPLES = int(os.environ.get("ELASTIC_DEPLOY_SIM_EXAMPLES", "300"))
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Stage.generate, Stage.shrink],
    derandomize="ELASTIC_DEPLOY_SIM_EXAMPLES" not in os.environ,
    database=None,
)
CHANGING = settings(PROFILE, max_examples=max(1, EXAMPLES // 2))
"""Whole changes are long histories."""

SETTLES = 300
"""Seconds within which all is well again after the last fault: a node that hangs is given up after 70 s, nodes idle
out and come anew, an engine that wedged is found out, and each of it may happen to a start that is under way."""

SPECS = st.builds(
    lambda tensor_parallel, replicas, on_failure, failures, surge: DeploymentSpec(
        "chat",
        "tiny",
        "tiny",
        Shape(tensor_parallel, 1, replicas),
        wait_timeout=120.0,
        engine_start_timeout=30.0,
        on_failure=on_failure,
        max_engine_failures=failures,
        drain_timeout=20.0,
        surge=surge,
    ),
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from(OnFailure),
    st.sampled_from((1, 3)),
    st.booleans(),
)
OTHER = DeploymentSpec("aside", "other", "other", Shape(1, 1, 1), wait_timeout=None, engine_start_timeout=60.0)


def begun(*specs: DeploymentSpec) -> Play:
    """A history at its beginning, in a cluster with room for everything."""
    return Play(World(Machines(max_nodes=24)), ClusterSpec(specs))


def settled(play: Play) -> bool:
    """Whether every deployment is where it was meant to come to."""
    for spec in play.spec.deployments:
        phase = play.phase(spec.name)
        if phase not in ((Phase.READY, Phase.FAILED) if spec.wanted else (Phase.STOPPED,)):
            return False
        serving = {e.name.replica for e in play.serving() if e.name.deployment == spec.name}
        if phase is Phase.READY and (spec.former is not None or len(serving) != spec.shape.replicas):
            return False
    return True


def settle(play: Play) -> None:
    """Let a history come to rest, and fail if it does not."""
    end_faults(play)
    for _ in range(SETTLES):
        if settled(play) and not play.delayed:
            return
        play.tick()
    raise AssertionError(play.story([f"not well {SETTLES} s after the last fault"]))


@PROFILE
@given(SPECS, st.lists(FAULTS, max_size=12))
def test_whatever_happens_all_is_well_again_or_failed_for_a_stated_reason(
    spec: DeploymentSpec, faults: list[Fault]
) -> None:
    play = begun(spec, OTHER)
    for fault in faults:
        befall(play, fault)
    settle(play)
    for memory in play.memory.deployments:
        if memory.phase == Phase.FAILED:
            assert memory.failure is not None
            assert memory.failure.message


@PROFILE
@given(SPECS, st.lists(FAULTS, max_size=8))
def test_stopped_at_any_moment_nothing_is_left(spec: DeploymentSpec, faults: list[Fault]) -> None:
    play = begun(spec)
    for fault in faults:
        befall(play, fault)
    end_faults(play)
    play.stop("chat")
    play.run(90)
    assert play.phase("chat") is Phase.STOPPED
    left = [e.name for e in play.world.engines.values() if e.hosts]
    assert (left, play.world.machines.groups, play.world.machines.requested) == ([], {}, 0), play.story(["left"])
    assert play.world.routes == ()


@PROFILE
@given(SPECS, st.lists(st.tuples(st.integers(1, 15), st.sampled_from(("kept", "lost", "unacted"))), max_size=8))
def test_a_supervisor_that_dies_again_and_again_restarts_no_engine(
    spec: DeploymentSpec, deaths: list[tuple[int, str]]
) -> None:
    play = begun(spec)
    play.run(20)
    for gap, memory in deaths:
        play.run(gap)
        if memory == "unacted":
            play.restart_before_acting()
        else:
            play.restart(forget=memory == "lost")
    play.run(15)
    assert {e.name.generation for e in play.serving()} == {1}
    assert len(play.serving()) == spec.shape.replicas


CHANGES = st.one_of(
    st.builds(lambda replicas: {"replicas": replicas}, st.integers(1, 3)),
    st.builds(lambda seed, bad: {"seed": seed, "bad": bad}, st.integers(1, 4), st.sampled_from((False, False, True))),
    st.builds(lambda seed, replicas: {"seed": seed, "replicas": replicas}, st.integers(1, 4), st.integers(1, 3)),
    st.builds(lambda size, replicas: {"size": size, "replicas": replicas}, st.integers(1, 2), st.integers(1, 3)),
)


def applied(clients: Clients, change: dict[str, int]) -> None:
    """The user applies a change: replicas, tensor parallel size, arguments, which may be those of a broken version."""
    play = clients.play
    shape = play.spec.deployments[0].shape
    changes: dict[str, object] = {
        "shape": Shape(change.get("size", shape.tensor_parallel), 1, change.get("replicas", shape.replicas))
    }
    if "seed" in change:
        changes["engine_arguments"] = ("--broken" if change.get("bad") else "--seed", str(change["seed"]))
    clients.change(**changes)
    spec = play.spec.deployments[0]
    if spec.engine_arguments[:1] == ("--broken",):
        play.world.bad_versions.add(spec.fingerprint)
    play.log.append((play.now, change))


@CHANGING
@given(SPECS, st.lists(st.tuples(st.integers(0, 60), CHANGES), min_size=1, max_size=5), st.sampled_from((0, 8, 40)))
def test_a_change_costs_clients_no_engine_with_a_surge_and_one_at_a_time_in_place(
    spec: DeploymentSpec, changes: list[tuple[int, dict[str, int]]], stay: int
) -> None:
    play = begun(spec)
    play.run(20)
    clients = Clients(play, stay)
    for gap, change in changes:
        clients.run(gap)
        applied(clients, change)
    for _ in range(SETTLES):
        if clients.settled:
            break
        clients.tick()
    assert clients.settled, play.story([f"the last change is not over after {SETTLES} s"])
    serving = {play.started_for[engine.name] for engine in play.serving()}
    assert serving == {play.spec.deployments[0].fingerprint}


@CHANGING
@given(SPECS, st.lists(ACCIDENTS, max_size=8))
def test_a_broken_version_ends_with_the_old_one_serving_or_failed_for_a_stated_reason(
    spec: DeploymentSpec, faults: list[Fault]
) -> None:
    play = begun(spec)
    play.run(20)
    old = play.spec.deployments[0].fingerprint
    play.change("chat", engine_arguments=("--broken",))
    play.world.bad_versions.add(play.spec.deployments[0].fingerprint)
    for fault in faults:
        befall(play, fault)
    settle(play)
    memory = play.remembered("chat")
    assert memory is not None
    if memory.failure is not None:
        assert memory.failure.message
        return
    assert {play.started_for[engine.name] for engine in play.serving()} == {old}, play.story(["not the old version"])
