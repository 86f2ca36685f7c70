"""A whole decision: the one request, the routing table, what nobody wants any more, and who is blind."""

from dataclasses import replace

import pytest

from elastic_deploy.core.decide import RESEND_PERIOD, Decision, decide, resumed
from elastic_deploy.core.invariants import violations
from elastic_deploy.model.action import EndEngine, RemovePlacementGroup, RequestResources, Route
from elastic_deploy.model.memory import Memory
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.shape import Bundle, Shape
from elastic_deploy.model.snapshot import ActionFailure, Snapshot
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .scenes import NOW, SERVING, SPEC, blind, deployment, engine, group, memory, serving, snapshot

CLUSTER = ClusterSpec((SPEC,))
ASIDE = DeploymentSpec("aside", "other", "other", Shape(3, 1, 2))
STOPPED = ClusterSpec((replace(SPEC, wanted=False),))


def asked(gpus: int) -> tuple[Bundle, ...]:
    """A request for so many GPUs."""
    return (Bundle({"GPU": 1.0}, gpus),) if gpus else ()


def decided(spec: ClusterSpec, seen: Snapshot, before: Memory) -> Decision:
    """A decision that breaks no invariant."""
    decision = decide(spec, seen, before, NOW)
    assert violations(spec, seen, before, NOW, decision) == []
    return decision


def at_rest() -> Memory:
    """The memory after everything has been sent and serves."""
    before = memory(deployment(serving(), phase="ready"), request=asked(2), request_sent_at=NOW - 1)
    return replace(before, routes=decided(CLUSTER, SERVING, before).memory.routes)


def requests(decision: Decision) -> list[tuple[Bundle, ...]]:
    """What a decision sends to the autoscaler."""
    return [action.bundles for action in decision.actions if isinstance(action, RequestResources)]


def test_at_rest_nothing_is_done_and_nothing_changes() -> None:
    before = at_rest()
    decision = decided(CLUSTER, SERVING, before)
    assert (decision.actions, decision.why, decision.memory) == ((), (), before)
    assert decision.wake_at == NOW - 1 + RESEND_PERIOD


def test_the_request_comes_first_and_covers_all_deployments() -> None:
    decision = decided(ClusterSpec((SPEC, ASIDE)), snapshot(), Memory())
    assert decision.actions[0] == RequestResources(asked(8))
    assert len(requests(decision)) == 1
    assert decision.why[0].message == "Asked the autoscaler for 8 GPUs."


def test_the_request_is_sent_again_on_a_period_without_a_word() -> None:
    decision = decided(CLUSTER, SERVING, replace(at_rest(), request_sent_at=NOW - RESEND_PERIOD))
    assert decision.actions == (RequestResources(asked(2)),)
    assert (decision.why, decision.memory.request_sent_at) == ((), NOW)


def test_the_request_is_cleared_once_when_the_last_deployment_goes() -> None:
    first = decided(STOPPED, SERVING, at_rest())
    assert requests(first) == [()]
    assert first.why[0].message == "Cleared the request to the autoscaler."
    assert requests(decided(STOPPED, SERVING, replace(first.memory, request_sent_at=0.0))) == []


def test_a_supervisor_that_finds_nothing_to_do_clears_what_another_may_have_asked_for() -> None:
    decision = decided(ClusterSpec(), snapshot(), Memory())
    assert decision.actions == (RequestResources(()), Route(()))
    assert decision.why == ()


@pytest.mark.parametrize("action", [RequestResources, Route])
def test_what_could_not_be_sent_is_sent_again(action: type) -> None:
    failure = ActionFailure(action.__name__, "", "no answer")
    decision = decided(CLUSTER, replace(SERVING, action_failures=(failure,)), at_rest())
    assert [type(done) for done in decision.actions] == [action]
    assert [event.message for event in decision.why] == [f"{action.__name__} failed: no answer"]


def test_a_supervisor_that_came_back_sends_everything_again() -> None:
    decision = decided(CLUSTER, SERVING, resumed(at_rest()))
    assert [type(action) for action in decision.actions] == [RequestResources, Route]
    assert decision.memory == replace(at_rest(), request_sent_at=NOW)


@pytest.mark.parametrize("part", ["nodes", "groups", "engines"])
def test_the_blind_end_nothing_start_nothing_and_change_no_route(part: str) -> None:
    for spec in (CLUSTER, STOPPED, ClusterSpec(), ClusterSpec((replace(SPEC, model="large", revision=2),))):
        decision = decided(spec, blind(SERVING, part), at_rest())
        assert {type(action) for action in decision.actions} <= {RequestResources}
        assert decision.memory.routes == at_rest().routes
        assert decision.memory.deployments[0].replicas == (serving(),)


def test_a_deployment_nobody_knows_is_wound_up() -> None:
    stray = EngineName("stray", "r7", 3)
    seen = snapshot((replace(group(), name=GroupName("stray", "r7")),), (replace(engine(), name=stray),))
    first = decided(ClusterSpec(), seen, Memory())
    assert [a.name for a in first.actions if isinstance(a, EndEngine)] == [stray]
    second = decided(ClusterSpec(), replace(seen, engines=snapshot().engines), first.memory)
    assert [a.name for a in second.actions if isinstance(a, RemovePlacementGroup)] == [GroupName("stray", "r7")]
    assert decided(ClusterSpec(), snapshot(), second.memory).memory.deployments == ()


def test_a_stopped_deployment_is_remembered_as_long_as_its_spec_is_there() -> None:
    decision = decided(STOPPED, snapshot(), memory(deployment(phase="stopped", generations=3)))
    assert [d.generations for d in decision.memory.deployments] == [3]


def test_the_order_of_specs_does_not_matter() -> None:
    one = decide(ClusterSpec((SPEC, ASIDE)), SERVING, Memory(), NOW)
    other = decide(ClusterSpec((ASIDE, SPEC)), SERVING, Memory(), NOW)
    assert replace(one, spec=other.spec) == other
