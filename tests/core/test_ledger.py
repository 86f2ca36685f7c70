"""What is told of a changing world: the fold of snapshots into records and events."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_deploy.core.ledger import DEAD_NODES_SHOWN, REFUSAL_TOLD_AGAIN, Ledger, advance
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.names import GroupName
from elastic_deploy.model.snapshot import (
    GroupSeen,
    GroupState,
    LaunchFailure,
    NodeNotice,
    NodeSeen,
    NodeState,
    NoticeKind,
    Reading,
    SetupStep,
    Snapshot,
)

UNKNOWN: Reading[Any] = Reading(0.0, error="no answer within 15 s")
GROUP = GroupName("chat", "r0")
ASKED, LAUNCHING, JOINED, DRAINING, DEAD = NodeState


def node(state: NodeState, id_: str = "i-1", ray_id: str = "a" * 8, **more: Any) -> NodeSeen:
    return NodeSeen(id_, "gpu", state, 1, ray_id if state in (JOINED, DRAINING, DEAD) else "", **more)


def seen(at: float, *nodes: NodeSeen, **more: Any) -> Snapshot:
    return Snapshot(
        at,
        more.pop("nodes_reading", Reading(at, nodes)),
        more.pop("groups", Reading(at, ())),
        Reading(at, ()),
        **more,
    )


def history(*snapshots: Snapshot) -> tuple[Ledger, list[list[EventDraft]]]:
    """The ledger after snapshots, and what each of them told."""
    ledger, told = Ledger(), []
    for snapshot in snapshots:
        ledger, events = advance(ledger, snapshot)
        told.append(list(events))
    return ledger, told


def kinds(told: list[list[EventDraft]]) -> list[list[str]]:
    return [[event.kind for event in events] for events in told]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([ASKED], ["node.asked"]),
        ([ASKED, LAUNCHING, JOINED], ["node.asked", "node.launching", "node.joined"]),
        ([JOINED, JOINED], ["node.joined"]),
        ([JOINED, DRAINING, DEAD], ["node.joined", "node.draining", "node.lost"]),
        ([JOINED, None], ["node.joined", "node.lost"]),
        ([DRAINING, None], ["node.draining", "node.lost"]),
        ([LAUNCHING, None, JOINED], ["node.launching", "node.joined"]),
        ([JOINED, DEAD, DEAD, None], ["node.joined", "node.lost"]),
        ([JOINED, DEAD, LAUNCHING, JOINED], ["node.joined", "node.lost", "node.launching", "node.joined"]),
        ([DEAD, DEAD], []),
    ],
    ids=lambda value: "-".join(str(one or "gone") for one in value),
)
def test_each_change_of_a_node_is_told_once(states: list[NodeState | None], expected: list[str]) -> None:
    _, told = history(*(seen(float(at), *([node(state)] if state else [])) for at, state in enumerate(states)))
    assert [kind for events in kinds(told) for kind in events] == expected


def test_the_ledger_says_since_when_a_node_has_been_in_its_state() -> None:
    ledger, _ = history(seen(1, node(LAUNCHING)), seen(2, node(JOINED)), seen(3, node(JOINED, address="10.0.0.7")))
    assert [(record.node.address, record.since) for record in ledger.nodes] == [("10.0.0.7", 2)]


def test_an_asked_for_node_is_the_requests_doing_and_a_joined_one_names_only_itself() -> None:
    _, [[asked], [joined]] = history(seen(1, node(ASKED)), seen(2, node(JOINED)))
    assert (asked.because, asked.subject, asked.node) == ("request", "node:i-1", "i-1")
    assert (joined.because, joined.subject) == ("", "node:i-1")
    assert joined.message == "Node i-1 (gpu, 1 GPU) has joined the cluster."


def test_why_a_node_died_is_in_its_event_and_its_record() -> None:
    ledger, [_, [lost]] = history(seen(1, node(JOINED)), seen(2, node(DEAD, detail="missed too many heartbeats")))
    assert lost.message == "Node i-1 (gpu, 1 GPU) is lost: missed too many heartbeats"
    assert ledger.nodes[0].node.detail == "missed too many heartbeats"


@pytest.mark.parametrize("vanished", [True, False])
def test_a_dead_node_is_named_for_ten_minutes_whether_or_not_ray_lists_it(vanished: bool) -> None:
    left = () if vanished else (node(DEAD),)
    before, _ = history(seen(0, node(JOINED)), seen(10, *left), seen(10 + DEAD_NODES_SHOWN - 1, *left))
    assert [record.node.state for record in before.nodes] == [DEAD]
    after, events = advance(before, seen(10 + DEAD_NODES_SHOWN, *left))
    assert after.nodes == ()
    assert events == ()
    assert advance(after, seen(11 + DEAD_NODES_SHOWN, *left)) == (after, ())


def test_the_heads_coming_and_going_is_no_event() -> None:
    head = node(JOINED, "head", is_head=True)
    ledger, told = history(seen(1, head), seen(2, replace(head, state=DRAINING)), seen(3))
    assert kinds(told) == [[], [], []]
    assert len(ledger.nodes) == 1


def test_what_is_unknown_has_not_changed() -> None:
    group = Reading(1.0, (GroupSeen(GROUP, "pg", GroupState.CREATED, ("a" * 8,)),))
    ledger, _ = advance(Ledger(), seen(1, node(JOINED), groups=group, monitor_alive=Reading(1.0, True)))
    blind = seen(2, nodes_reading=UNKNOWN, groups=UNKNOWN, monitor_alive=UNKNOWN)
    assert advance(ledger, blind) == (ledger, ())


def test_a_node_that_is_still_listed_as_launching_when_it_has_joined_is_told_of_once() -> None:
    """The autoscaler's list is some seconds older than Ray's own."""
    both = (node(JOINED), node(LAUNCHING))
    ledger, told = history(seen(1, node(LAUNCHING)), seen(2, *both), seen(3, *reversed(both)), seen(4, node(JOINED)))
    assert kinds(told) == [["node.launching"], ["node.joined"], [], []]
    assert [record.node.state for record in ledger.nodes] == [JOINED]


def test_a_machine_whose_raylet_was_started_again_is_lost_once_and_joined_once() -> None:
    """A fixed machine, or a stopped instance that is started again, keeps its id; Ray goes on listing its dead node."""
    old, new = node(JOINED, ray_id="old"), node(JOINED, ray_id="new")
    dead = replace(old, state=DEAD)
    ledger, told = history(seen(1, old), seen(2, dead, new), seen(3, new, dead), seen(4, dead, new))
    assert kinds(told) == [["node.joined"], ["node.lost", "node.joined"], [], []]
    assert [record.node.ray_id for record in ledger.nodes] == ["new"]


def test_a_raylet_started_again_before_ray_noticed_the_old_ones_death_is_told_when_it_does() -> None:
    old, new = node(JOINED, ray_id="old"), node(JOINED, ray_id="new")
    dead = replace(old, state=DEAD)
    _, told = history(seen(1, old), seen(2, old, new), seen(3, new, old), seen(4, dead, new), seen(5, new))
    assert kinds(told) == [["node.joined"], [], [], ["node.lost", "node.joined"], []]


def refusal(at: float, code: str = "InsufficientInstanceCapacity", words: str = "No capacity.") -> LaunchFailure:
    return LaunchFailure("gpu", 2, code, words, at)


def test_a_refused_launch_is_told_in_the_clouds_words() -> None:
    _, [[event]] = history(seen(10, launch_failures=(refusal(9.5),)))
    assert event.kind == "launch.failed"
    assert event.message == (
        "The launch of 2 gpu nodes was refused with InsufficientInstanceCapacity: No capacity."
        " The autoscaler asks again every few seconds. Try another zone, or another type."
    )
    assert event.data == {
        "code": "InsufficientInstanceCapacity",
        "node_type": "gpu",
        "count": 2,
        "came": 0,
        "zones": [],
    }
    assert event.because == "request"


def test_a_refusal_that_repeats_every_five_seconds_is_told_once_a_minute() -> None:
    refusals = [refusal(float(at)) for at in range(0, 601, 5)]
    snapshots = [
        seen(float(at), launch_failures=tuple(r for r in refusals[1:] if at - 300 < r.at <= at)) for at in range(601)
    ]
    _, told = history(*snapshots)
    times = [float(at) for at, events in enumerate(told) if events]
    assert times == [5.0 + REFUSAL_TOLD_AGAIN * minute for minute in range(10)]


def test_another_code_is_told_at_once() -> None:
    first, second = refusal(10), refusal(11, "MaxSpotInstanceCountExceeded")
    _, told = history(seen(10, launch_failures=(first,)), seen(11, launch_failures=(first, second)))
    assert [len(events) for events in told] == [1, 1]


def test_refusals_already_told_are_not_told_again_by_a_supervisor_that_comes_back() -> None:
    ledger, _ = advance(Ledger(), seen(10, launch_failures=(refusal(9),)))
    later, events = advance(ledger, seen(500, launch_failures=(refusal(9),)))
    assert events == ()
    assert advance(later, seen(501, launch_failures=(refusal(9), refusal(500.5))))[1] != ()


def test_the_autoscalers_death_and_return_are_told_and_its_first_sight_is_not() -> None:
    alive = [Reading(0.0, value) for value in (True, True, False, False)] + [UNKNOWN, Reading(0.0, True)]
    _, told = history(*(seen(float(at), monitor_alive=reading) for at, reading in enumerate(alive)))
    assert kinds(told) == [[], [], ["autoscaler.lost"], [], [], ["autoscaler.back"]]
    assert told[-1][0].because == told[2][0].subject


def groups(state: GroupState, *nodes: str) -> Reading[tuple[GroupSeen, ...]]:
    return Reading(0.0, (GroupSeen(GROUP, "pg1", state, nodes),))


def test_a_group_that_loses_a_node_is_told_once_with_the_node_as_its_cause() -> None:
    ledger, told = history(
        seen(1, node(JOINED), groups=groups(GroupState.PENDING, "")),
        seen(2, node(JOINED), groups=groups(GroupState.CREATED, "a" * 8)),
        seen(3, node(DEAD), groups=groups(GroupState.RESCHEDULING, "a" * 8)),
        seen(4, node(DEAD), groups=groups(GroupState.RESCHEDULING, "")),
        seen(5, groups=groups(GroupState.CREATED, "b" * 8)),
        seen(6, groups=groups(GroupState.REMOVED)),
    )
    assert kinds(told)[2:] == [["node.lost", "group.rescheduling"], [], [], []]
    event = told[2][1]
    assert (event.deployment, event.replica, event.because) == ("chat", "r0", "node:i-1")
    assert ledger.groups == ()


def test_a_group_first_seen_while_it_is_placed_anew_has_lost_nothing_that_was_known() -> None:
    ledger, told = history(seen(1, groups=groups(GroupState.RESCHEDULING, "")))
    assert told == [[]]
    assert ledger.groups[0].since == 1


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """Anything that Ray and the autoscaler could say at once, several sightings of one machine among them."""
    nodes = draw(
        st.lists(
            st.builds(node, st.sampled_from(NodeState), st.sampled_from(["i-1", "i-2"]), st.sampled_from(["x", "y"])),
            max_size=5,
        )
    )
    return seen(0.0, *nodes)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(worlds(), max_size=8))
def test_a_world_that_stands_still_has_no_news_and_no_node_twice(snapshots: list[Snapshot]) -> None:
    ledger = Ledger()
    for at, snapshot in enumerate(snapshots):
        ledger, _ = advance(ledger, replace(snapshot, at=float(at)))
        assert len({record.node.id for record in ledger.nodes}) == len(ledger.nodes)
        assert advance(ledger, replace(snapshot, at=float(at)))[1] == ()


def test_a_notice_is_told_once_and_is_why_the_node_is_drained_and_lost() -> None:
    notice = NodeNotice("a" * 8, NoticeKind.INTERRUPTION, 120.0, 2.0)
    _, told = history(
        seen(1.0, node(JOINED)),
        seen(2.0, node(JOINED), notices=(notice,)),
        seen(3.0, node(DRAINING), notices=(notice,)),
        seen(4.0, node(DEAD), notices=(notice,)),
    )
    assert kinds(told) == [["node.joined"], ["node.notice"], ["node.draining"], ["node.lost"]]
    [[joined], [noticed], [draining], [lost]] = told
    assert noticed.message == "The cloud takes node i-1 at 00:02:00 UTC (spot interruption)."
    assert noticed.data == {"notice": "spot interruption", "deadline": 120.0}
    assert (noticed.subject, joined.because) == ("node:i-1", "")
    assert draining.because == lost.because == "node:i-1"


def test_a_recommendation_is_told_without_a_time_and_an_interruption_after_it_as_well() -> None:
    rebalance = NodeNotice("a" * 8, NoticeKind.REBALANCE, None, 2.0)
    interruption = NodeNotice("a" * 8, NoticeKind.INTERRUPTION, 120.0, 3.0)
    _, told = history(
        seen(2.0, node(JOINED), notices=(rebalance,)), seen(3.0, node(JOINED), notices=(rebalance, interruption))
    )
    assert kinds(told) == [["node.notice", "node.joined"], ["node.notice"]]
    assert "likelier than usual to be taken (rebalance recommendation)" in told[0][0].message


def test_each_step_of_a_set_up_is_told_once_under_the_nodes_name() -> None:
    ssh, setup = node(LAUNCHING, step=SetupStep.SSH), node(LAUNCHING, step=SetupStep.SETUP)
    ledger, told = history(seen(1, node(LAUNCHING)), seen(2, ssh), seen(3, ssh), seen(4, setup), seen(5, node(JOINED)))
    assert kinds(told) == [["node.launching"], ["node.ssh"], [], ["node.setup"], ["node.joined"]]
    assert ledger.nodes[0].since == 5
    _, told = history(seen(1, ssh))
    assert kinds(told) == [["node.launching", "node.ssh"]], "both were missed, and are told in their order"


def test_a_node_that_gets_bundles_of_a_replica_is_told_once_before_the_group_is_ready() -> None:
    pending, whole = groups(GroupState.PENDING, ""), groups(GroupState.CREATED, "a" * 8)
    ledger, told = history(
        seen(1, node(JOINED), groups=pending),
        seen(2, node(JOINED), groups=whole),
        seen(3, node(JOINED), groups=whole),
        seen(4, node(JOINED), groups=UNKNOWN),
        seen(5, node(JOINED), groups=groups(GroupState.REMOVED, "a" * 8)),
        seen(6, node(JOINED), groups=whole),
    )
    assert kinds(told) == [["node.joined"], ["node.placed"], [], [], [], ["node.placed"]]
    (placed,) = told[1]
    assert (placed.deployment, placed.replica, placed.node, placed.data["bundles"]) == ("chat", "r0", "i-1", 1)
    assert ledger.nodes[0].holds == (GROUP,)


@pytest.mark.parametrize(
    ("later", "withdrawn"),
    [
        ([[]], False),
        ([[]] * 3, True),
        ([[node(LAUNCHING, "i-7")], [], []], False),
        ([[node(ASKED, "gpu-asked-1")], [node(ASKED, "gpu-asked-1")], [node(ASKED, "gpu-asked-1")]], False),
    ],
    ids=["not seen for a while", "not seen for long", "given, under the cloud's name", "seen again"],
)
def test_a_node_that_is_on_its_way_no_more_is_told_when_nothing_has_come_of_it(
    later: list[list[NodeSeen]], withdrawn: bool
) -> None:
    _, told = history(
        seen(0, node(ASKED, "gpu-asked-1")), seen(1), *(seen(31.0 + 30 * n, *nodes) for n, nodes in enumerate(later))
    )
    gone = [event for events in told for event in events if event.kind == "node.withdrawn"]
    assert [event.node for event in gone] == ["gpu-asked-1"] * withdrawn
