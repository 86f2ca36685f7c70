"""A case for every row of the table of rules, and for the order of rows that could both hold."""

from dataclasses import dataclass, replace

import pytest

from elastic_deploy.core.classify import RULES, Condition, classify
from elastic_deploy.core.facts import ReplicaFacts
from elastic_deploy.model.memory import Distrust, Move
from elastic_deploy.model.snapshot import GroupState, NodeState, PathsSeen

from .scenes import (
    NODES,
    NOW,
    SERVING,
    SPEC,
    STARTING,
    WHOLE,
    blind,
    ended,
    engine,
    engine_name,
    facts,
    failed,
    fresh,
    group,
    probe,
    running,
    serving,
    snapshot,
)

SUSPECT = (NODES[0], replace(NODES[1], suspect=True))
DEAD = (NODES[0], replace(NODES[1], state=NodeState.DEAD))
DRAINING = (NODES[0], replace(NODES[1], state=NodeState.DRAINING))
PATIENT = replace(SPEC, engine_start_timeout=None)
ASKED = replace(WHOLE, paths=(PathsSeen(engine_name(1)),))
DISTRUST = Distrust("b", "i-b", "it does not reach the others", NOW - 1)


@dataclass(frozen=True)
class Row:
    """A name, what is known of a replica, and its condition."""

    name: str
    facts: ReplicaFacts
    expected: Condition


ROWS = (
    Row("groups unknown", facts(serving(), blind(SERVING)), Condition.BLIND),
    Row("nodes unknown", facts(fresh(), blind(snapshot(), "nodes")), Condition.BLIND),
    Row("engines unknown, while its gang is broken", facts(serving(), blind(snapshot(), "engines")), Condition.BLIND),
    Row("other arguments", facts(serving(), SERVING, replace(SPEC, model="large")), Condition.REPLACED_BY_USER),
    Row("other canaries", facts(serving(), SERVING, replace(SPEC, wait_timeout=None)), Condition.SERVING),
    Row("only another revision", facts(serving(), SERVING, replace(SPEC, revision=2)), Condition.SERVING),
    Row(
        "rescheduling",
        facts(serving(), snapshot((group(GroupState.RESCHEDULING, ("a", "")),), (engine(),))),
        Condition.GANG_BROKEN,
    ),
    Row(
        "the cloud takes a node in a minute",
        facts(serving(move=Move("i-b", NOW + 60, 1)), snapshot((group(),), (engine(),), (probe(),), DRAINING)),
        Condition.SERVING,
    ),
    Row(
        "the cloud takes a node in 20 s",
        facts(serving(move=Move("i-b", NOW + 20, 1)), snapshot((group(),), (engine(),), (probe(),), DRAINING)),
        Condition.NODE_DUE,
    ),
    Row(
        "the cloud takes a node in 20 s, and the engine has ended",
        facts(serving(move=Move("i-b", NOW + 20, 1)), snapshot((group(),), (ended(),), (probe(),), DRAINING)),
        Condition.ENGINE_ENDED,
    ),
    Row(
        "no engine, on a node that is drained",
        facts(failed(), snapshot((group(),), (ended(),), (), DRAINING)),
        Condition.GROUP_DOOMED,
    ),
    Row("its group is gone", facts(serving(), snapshot((), (engine(),))), Condition.GANG_BROKEN),
    Row(
        "a node is dead and its group does not know",
        facts(serving(), snapshot((group(),), (engine(),), nodes=DEAD)),
        Condition.GANG_BROKEN,
    ),
    Row(
        "a bundle was lost and placed again unobserved",
        facts(serving(), snapshot((group(nodes=("a", "c")),), (engine(),))),
        Condition.GANG_BROKEN,
    ),
    Row("ended and broken", facts(serving(), snapshot((), (ended(),))), Condition.GANG_BROKEN),
    Row("ended, all else well", facts(serving(), snapshot((group(),), (ended(swept=False),))), Condition.ENGINE_ENDED),
    Row(
        "a worker of it died",
        facts(serving(), snapshot((group(),), (replace(engine(), lost_workers=1),), (probe(),))),
        Condition.ENGINE_MAIMED,
    ),
    Row(
        "a worker died before the first generation",
        facts(running(), snapshot((group(),), (replace(engine(), lost_workers=1),))),
        Condition.ENGINE_STARTING,
    ),
    Row("never appeared", facts(running(), WHOLE), Condition.ENGINE_UNSEEN),
    Row("vanished while it served", facts(serving(), WHOLE), Condition.ENGINE_UNSEEN),
    Row("not yet appeared", facts(running(started_at=NOW - 9), WHOLE), Condition.ENGINE_STARTING),
    Row(
        "three canaries failed",
        facts(serving(), snapshot((group(),), (engine(),), (probe(failures=3),))),
        Condition.ENGINE_WEDGED,
    ),
    Row(
        "two canaries failed",
        facts(serving(), snapshot((group(),), (engine(),), (probe(failures=2),))),
        Condition.SERVING,
    ),
    Row(
        "canaries fail but tokens grow",
        facts(serving(), snapshot((group(),), (engine(),), (probe(failures=9, progressing=True),))),
        Condition.SERVING,
    ),
    Row(
        "canaries fail before the first generation",
        facts(running(), snapshot((group(),), (engine(),), (probe(proven_at=None, failures=9),))),
        Condition.ENGINE_STARTING,
    ),
    Row("silent at its deadline", facts(running(started_at=NOW - 120), STARTING), Condition.ENGINE_SILENT),
    Row("silent before its deadline", facts(running(started_at=NOW - 119), STARTING), Condition.ENGINE_STARTING),
    Row("silent without a deadline", facts(running(started_at=1.0), STARTING, PATIENT), Condition.ENGINE_STARTING),
    Row("starting", facts(running(), STARTING), Condition.ENGINE_STARTING),
    Row(
        "starting on a suspect node", facts(running(), replace(STARTING, nodes=WHOLE.nodes)), Condition.ENGINE_STARTING
    ),
    Row("proven now", facts(running(), SERVING), Condition.SERVING),
    Row("proven once, no canary since", facts(serving(), STARTING), Condition.SERVING),
    Row(
        "serving beside an older engine",
        facts(serving(generation=2), snapshot((group(),), (engine(1), engine(2)))),
        Condition.SERVING,
    ),
    Row("an older one runs", facts(failed(generation=2), snapshot((group(),), (engine(1),))), Condition.OLDER_ENGINE),
    Row(
        "an older one is unswept",
        facts(failed(generation=2), snapshot((group(),), (ended(1, swept=False),))),
        Condition.OLDER_ENGINE,
    ),
    Row("an older one is gone", facts(failed(generation=2), snapshot((group(),), (ended(1),))), Condition.ENGINE_DUE),
    Row("given up but running", facts(failed(), STARTING), Condition.ENGINE_LEAVING),
    Row(
        "given up, ended, unswept",
        facts(failed(), snapshot((group(),), (ended(swept=False),))),
        Condition.ENGINE_LEAVING,
    ),
    Row("nothing at all", facts(fresh(), snapshot()), Condition.GROUP_ABSENT),
    Row("its group was removed", facts(fresh(), snapshot((group(GroupState.REMOVED),))), Condition.GROUP_ABSENT),
    Row("a group of three", facts(fresh(), snapshot((group(nodes=("a", "b", "c")),))), Condition.GROUP_UNFIT),
    Row("no pool for it", facts(fresh(pool=None), snapshot()), Condition.POOLS_REST),
    Row("a group in a pool that it left", facts(fresh(pool=None), snapshot((group(),))), Condition.GROUP_UNFIT),
    Row("in a pool that is none of its", facts(fresh(pool="a"), snapshot((group(),))), Condition.GROUP_UNFIT),
    Row("pending", facts(fresh(), snapshot((group(GroupState.PENDING, ("", "")),))), Condition.GANG_INCOMPLETE),
    Row("prepared", facts(fresh(), snapshot((group(GroupState.PREPARED),))), Condition.GANG_INCOMPLETE),
    Row("whole on a dead node", facts(fresh(), snapshot((group(),), nodes=DEAD)), Condition.GANG_INCOMPLETE),
    Row(
        "whole again on another node",
        facts(failed(), snapshot((group(nodes=("a", "c")),), (ended(),))),
        Condition.GANG_INCOMPLETE,
    ),
    Row("a suspect node", facts(failed(), snapshot((group(),), nodes=SUSPECT)), Condition.NODE_SUSPECT),
    Row(
        "suspect before the first start",
        facts(fresh(whole_since=NOW, members=("a", "b")), snapshot((group(),), nodes=SUSPECT)),
        Condition.NODE_SUSPECT,
    ),
    Row(
        "suspect for longer than a verdict takes",
        facts(failed(suspected_at=NOW - 75), snapshot((group(),), nodes=SUSPECT)),
        Condition.ENGINE_DUE,
    ),
    Row("its nodes are being asked", facts(failed(failures=3), ASKED), Condition.PATHS_ASKED),
    Row("distrusted, not yet drained", facts(failed(distrust=DISTRUST), WHOLE), Condition.NODE_DISTRUSTED),
    Row(
        "distrusted and drained",
        facts(failed(distrust=DISTRUST), snapshot((group(),), (ended(),), (), DRAINING)),
        Condition.GROUP_DOOMED,
    ),
    Row(
        "distrusted, not drained in time",
        facts(failed(distrust=replace(DISTRUST, at=NOW - 60)), WHOLE),
        Condition.ENGINE_DUE,
    ),
    Row("backing off", facts(failed(retry_at=NOW + 1), WHOLE), Condition.BACKING_OFF),
    Row("failed too often", facts(failed(failures=3), WHOLE), Condition.EXHAUSTED),
    Row("failed too often, others serve", facts(failed(failures=3), WHOLE, others_serve=True), Condition.ENGINE_DUE),
    Row("refused its arguments", facts(failed(refused=True, retry_at=NOW + 1), WHOLE), Condition.EXHAUSTED),
    Row(
        "refused its arguments, others serve",
        facts(failed(refused=True, retry_at=NOW + 1), WHOLE, others_serve=True),
        Condition.BACKING_OFF,
    ),
    Row("failed twice", facts(failed(failures=2), WHOLE), Condition.ENGINE_DUE),
    Row("whole", facts(fresh(), WHOLE), Condition.ENGINE_DUE),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_condition(row: Row) -> None:
    assert classify(row.facts).condition is row.expected


def test_every_rule_has_a_row() -> None:
    assert {row.expected for row in ROWS} == {rule.condition for rule in RULES} == set(Condition)


def test_the_short_way_to_serving_is_taken_only_where_the_long_way_leads_there_too() -> None:
    short, *long = (rule for rule in RULES if rule.engine is not False)
    for row in ROWS:
        if row.facts.has_engine and short.holds(row.facts):
            assert next(rule for rule in long if rule.holds(row.facts)).condition is short.condition, row.name


def test_every_rule_says_why() -> None:
    assert all(rule.why for rule in RULES)
