"""One step of one replica: its condition, and the handler of that condition.

`core.deployment` calls `step` for replicas that should serve, and `leave` for those that should go.
"""

from collections.abc import Callable
from dataclasses import replace

from elastic_deploy.core import engine, gang
from elastic_deploy.core.classify import Condition, Rule, classify
from elastic_deploy.core.distrust import await_drain, note_broken_paths
from elastic_deploy.core.drain import drain, ending_event
from elastic_deploy.core.facts import HANDOVER, ReplicaFacts
from elastic_deploy.core.replica_step import ReplicaStep, ending
from elastic_deploy.core.silence import note_silent_nodes
from elastic_deploy.model.action import EndEngine, RemovePlacementGroup
from elastic_deploy.model.snapshot import EngineState


def _keep(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    return ReplicaStep(rule.condition, facts.memory)


def _end_leftovers(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    return ReplicaStep(rule.condition, facts.memory, ending(facts, rule.why))


Handler = Callable[[ReplicaFacts, Rule], ReplicaStep]
HANDLERS: dict[Condition, Handler] = {
    Condition.BLIND: _keep,
    Condition.OLDER_ENGINE: _end_leftovers,
    Condition.ENGINE_LEAVING: _end_leftovers,
    Condition.REPLACED_BY_USER: engine.replace_by_user,
    Condition.GANG_BROKEN: gang.break_gang,
    Condition.POOLS_REST: _keep,
    Condition.GROUP_ABSENT: gang.create_group,
    Condition.GROUP_UNFIT: gang.remove_unfit,
    Condition.GROUP_DOOMED: gang.remove_unfit,
    Condition.NODE_DISTRUSTED: await_drain,
    Condition.GANG_INCOMPLETE: gang.await_gang,
    Condition.ENGINE_ENDED: engine.ended,
    Condition.NODE_SUSPECT: engine.await_verdict,
    Condition.PATHS_ASKED: _keep,
    Condition.BACKING_OFF: engine.back_off,
    Condition.EXHAUSTED: _keep,
    Condition.ENGINE_DUE: engine.start,
    Condition.ENGINE_MAIMED: engine.maimed,
    Condition.ENGINE_UNSEEN: engine.unseen,
    Condition.ENGINE_WEDGED: engine.wedged,
    Condition.NODE_DUE: engine.hand_over,
    Condition.ENGINE_SILENT: engine.silent,
    Condition.ENGINE_STARTING: engine.await_generation,
    Condition.SERVING: engine.serve,
}


def step(facts: ReplicaFacts) -> ReplicaStep:
    """One step of a replica that should serve."""
    facts, noted = gang.note_whole(facts)
    facts, broken = note_broken_paths(facts)
    facts, silent = note_silent_nodes(facts)
    noted += broken + silent
    rule = classify(facts)
    result = HANDLERS[rule.condition](facts, rule)
    if noted:
        result = result._replace(events=noted + result.events)
    if facts.memory.move is not None and facts.has_engine and not facts.is_due:
        handed_over = facts.memory.move.at - HANDOVER
        result = result._replace(wake_at=handed_over if result.wake_at is None else min(result.wake_at, handed_over))
    if facts.older and not result.actions and not facts.blind:
        result = result._replace(actions=_ending_older(facts))
    return result


def _ending_older(facts: ReplicaFacts) -> tuple[EndEngine, ...]:
    """End the engines that run beside a newer one. What one that has ended may have left is swept after the newer."""
    why = "an engine of a later generation runs in its place"
    running = [engine for engine in facts.older if engine.state is not EngineState.ENDED]
    return tuple(EndEngine(engine.name, facts.nodes, why) for engine in running)


def leave(facts: ReplicaFacts, why: str, *, keep_group: bool = False) -> ReplicaStep:
    """One step of a replica that should go: its engine first, then its group, then the memory of it.

    With `keep_group` the group stays, and with it the GPUs and the memory.
    """
    if facts.blind:
        return ReplicaStep(Condition.BLIND, facts.memory)
    if facts.has_engine and (draining := drain(facts, Condition.ENGINE_LEAVING, why)) is not None:
        return draining
    memory = facts.memory
    if facts.has_engine:
        memory = replace(memory, engine_ended=True)
    if leftovers := ending(facts, why):
        said = (ending_event(facts, why),) if facts.has_engine else ()
        return ReplicaStep(Condition.ENGINE_LEAVING, memory, leftovers, said)
    if keep_group:
        return ReplicaStep(Condition.ENGINE_LEAVING, memory)
    if facts.group is not None:
        return ReplicaStep(Condition.GROUP_UNFIT, memory, (RemovePlacementGroup(facts.group.name),))
    return ReplicaStep(Condition.GROUP_ABSENT, None)
