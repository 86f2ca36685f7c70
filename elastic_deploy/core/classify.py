"""What condition a replica is in: an ordered table of rules, the first that matches wins, one reason a row.

Pure, called by `core.replica` for every replica at every step. Each row has a case in `tests/core/test_classify.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from elastic_deploy.core.facts import ReplicaFacts, is_gone
from elastic_deploy.model.snapshot import EngineState

VERDICT_WAIT = 75.0
"""Seconds that an ended engine's successor waits for Ray's verdict on a node whose raylet refuses connections. Ray's
defaults need 14 s for a killed raylet and about 65 s for a black-holed host (measured)."""

DRAIN_WAIT = 60.0
"""Seconds within which Ray has to drain a node that is trusted no more: it does so at once where it is well."""

APPEAR_WAIT = 10.0
"""Seconds within which an engine that was started has to be seen among Ray's actors."""


class Condition(StrEnum):
    """The one thing that matters most about a replica now."""

    BLIND = "blind"
    REPLACED_BY_USER = "replaced by the user"
    GANG_BROKEN = "gang broken"
    ENGINE_ENDED = "engine ended"
    ENGINE_MAIMED = "engine maimed"
    ENGINE_UNSEEN = "engine unseen"
    ENGINE_WEDGED = "engine wedged"
    NODE_DUE = "node due"
    ENGINE_SILENT = "engine silent"
    ENGINE_STARTING = "engine starting"
    SERVING = "serving"
    OLDER_ENGINE = "older engine"
    ENGINE_LEAVING = "engine leaving"
    POOLS_REST = "pools rest"
    GROUP_ABSENT = "group absent"
    GROUP_UNFIT = "group unfit"
    GROUP_DOOMED = "group doomed"
    NODE_DISTRUSTED = "node distrusted"
    GANG_INCOMPLETE = "gang incomplete"
    NODE_SUSPECT = "node suspect"
    PATHS_ASKED = "paths asked"
    BACKING_OFF = "backing off"
    EXHAUSTED = "exhausted"
    ENGINE_DUE = "engine due"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. `engine`: for replicas that have an engine, for those that have none, or (None) for all."""

    condition: Condition
    engine: bool | None
    holds: Callable[[ReplicaFacts], bool]
    why: str


_ENDED = EngineState.ENDED


def _always(_: ReplicaFacts) -> bool:
    return True


def _is_undisturbed(facts: ReplicaFacts) -> bool:
    engine, probe = facts.engine, facts.probe
    return (
        engine is not None
        and engine.state is not _ENDED
        and not engine.lost_workers
        and probe is not None
        and probe.proven_at is not None
        and not probe.failures
        and facts.memory.fingerprint == facts.fingerprint
        and facts.is_intact
        and not facts.view.blind
        and not facts.is_due
    )


def _is_suspect(facts: ReplicaFacts) -> bool:
    if not facts.suspect_nodes:
        return False
    memory = facts.memory
    since = memory.whole_since if memory.suspected_at is None else memory.suspected_at
    return since is not None and facts.now - since < VERDICT_WAIT


def _is_distrusted(facts: ReplicaFacts) -> bool:
    distrust, group = facts.memory.distrust, facts.group
    return (
        distrust is not None
        and group is not None
        and distrust.node in group.bundle_nodes
        and facts.now - distrust.at < DRAIN_WAIT
    )


def _is_wedged(facts: ReplicaFacts) -> bool:
    probe = facts.probe
    return probe is not None and probe.failures >= facts.spec.canary.failures and not probe.progressing and facts.proven


def _is_silent(facts: ReplicaFacts) -> bool:
    limit = facts.spec.engine_start_timeout
    return not facts.proven and limit is not None and facts.now - facts.memory.started_at >= limit


RULES: tuple[Rule, ...] = (
    # First because it is what nearly every replica is in at nearly every step; it holds where none up to the last does.
    Rule(Condition.SERVING, True, _is_undisturbed, "the engine generates, and nothing that it needs has changed"),
    Rule(Condition.BLIND, None, lambda f: f.view.blind != "", "an observation failed, and what is unknown is not lost"),
    Rule(
        Condition.REPLACED_BY_USER,
        True,
        lambda f: f.memory.fingerprint != f.fingerprint,
        "the user changed what this engine was started for",
    ),
    Rule(
        Condition.GANG_BROKEN,
        True,
        lambda f: not f.is_intact,
        "a tensor-parallel engine cannot go on without one of its nodes",
    ),
    Rule(
        Condition.ENGINE_ENDED,
        True,
        lambda f: f.engine is not None and f.engine.state is _ENDED,
        "ended is ended, whatever the engine returned",
    ),
    Rule(
        Condition.ENGINE_MAIMED,
        True,
        lambda f: f.engine is not None and f.engine.lost_workers > 0 and f.proven,
        "an engine that served cannot go on without one of its workers, and notices late or never",
    ),
    Rule(
        Condition.ENGINE_UNSEEN,
        True,
        lambda f: f.engine is None and f.now - f.memory.started_at >= APPEAR_WAIT,
        "an engine that was started has not appeared, or has vanished",
    ),
    Rule(
        Condition.ENGINE_WEDGED,
        True,
        _is_wedged,
        "only a generation proves life, and the engine's own count of tokens stands still",
    ),
    Rule(Condition.NODE_DUE, True, lambda f: f.is_due, "the cloud is about to take a node of it"),
    Rule(Condition.ENGINE_SILENT, True, _is_silent, "the engine has not generated within its time to start"),
    Rule(Condition.ENGINE_STARTING, True, lambda f: not f.proven, "the engine runs and has not generated yet"),
    Rule(Condition.SERVING, True, _always, "the engine has generated"),
    Rule(
        Condition.OLDER_ENGINE,
        False,
        lambda f: bool(f.older),
        "an engine of another generation may still hold the GPUs",
    ),
    Rule(
        Condition.ENGINE_LEAVING,
        False,
        lambda f: not is_gone(f.engine),
        "the engine is given up, but something of it may still run",
    ),
    Rule(
        Condition.POOLS_REST,
        False,
        lambda f: f.group is None and f.pool is None,
        "a pool that has just failed would fail again at once",
    ),
    Rule(
        Condition.GROUP_ABSENT,
        False,
        lambda f: f.group is None,
        "the GPUs have to be reserved together before anything starts",
    ),
    Rule(Condition.GROUP_UNFIT, False, lambda f: not f.fits, "the group was made for another shape or pool"),
    Rule(
        Condition.GROUP_DOOMED,
        False,
        lambda f: f.is_on_draining_node,
        "a node of the group is about to go, and Ray moves no bundle before it is gone",
    ),
    Rule(
        Condition.NODE_DISTRUSTED,
        False,
        _is_distrusted,
        "another group may be placed on the node that is trusted no more until Ray drains it",
    ),
    Rule(
        Condition.GANG_INCOMPLETE,
        False,
        lambda f: not f.is_intact,
        "an engine started before its gang is whole would only hold GPUs and fail",
    ),
    Rule(
        Condition.NODE_SUSPECT,
        False,
        _is_suspect,
        "a node of the gang refuses connections: Ray's verdict comes before a new start",
    ),
    Rule(
        Condition.PATHS_ASKED,
        False,
        lambda f: f.paths is not None and f.paths.at is None,
        "the nodes of the gang are being asked whether they reach each other",
    ),
    Rule(
        Condition.EXHAUSTED,
        False,
        lambda f: f.memory.refused and not f.others_serve,
        "an engine that refuses its arguments will refuse them again",
    ),
    Rule(
        Condition.BACKING_OFF,
        False,
        lambda f: f.now < f.memory.retry_at,
        "an engine that has just failed would fail again at once",
    ),
    Rule(
        Condition.EXHAUSTED,
        False,
        lambda f: f.memory.failures >= f.spec.max_engine_failures and not f.others_serve,
        "an engine that failed so often with all its nodes well will not come up by itself",
    ),
    Rule(Condition.ENGINE_DUE, False, _always, "the gang is whole and nothing runs in it"),
)

_WITH_ENGINE = tuple(rule for rule in RULES if rule.engine is not False)
_WITHOUT_ENGINE = tuple(rule for rule in RULES if rule.engine is not True)


def classify(facts: ReplicaFacts) -> Rule:
    """The first rule that holds for a replica; the last one, with an engine or without, always does."""
    for rule in _WITH_ENGINE if facts.has_engine else _WITHOUT_ENGINE:
        if rule.holds(facts):
            return rule
    raise AssertionError("the last rule always holds")
