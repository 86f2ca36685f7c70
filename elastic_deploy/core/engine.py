"""What to do about a replica's engine: start it, wait for its first generation, count its failures, let it serve.

The handlers of `core.replica`'s table for the conditions of the engine; in all of them the gang is whole.
"""

from dataclasses import replace

from elastic_deploy.core.backoff import STABLE, pause
from elastic_deploy.core.classify import VERDICT_WAIT, Rule
from elastic_deploy.core.drain import drain, ending_event
from elastic_deploy.core.facts import ReplicaFacts
from elastic_deploy.core.replica_step import ReplicaStep, ending, engine_event, outage_of
from elastic_deploy.core.silence import spoken, with_silence
from elastic_deploy.model.action import Backend, StartEngine
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import Outage, Recovery
from elastic_deploy.model.names import EngineName


def start(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Start the engine of the next generation."""
    memory, now = facts.memory, facts.now
    name = EngineName(facts.spec.name, memory.id, memory.generation + 1)
    remembered = replace(
        memory,
        generation=name.generation,
        revision=facts.spec.revision,
        fingerprint=facts.fingerprint,
        adopted=False,
        draining_since=None,
        started_at=now,
        engine_ended=False,
        proven_at=None,
        suspected_at=None,
        distrust=None,
        outage=replace(memory.outage, started_at=now) if memory.outage else None,
    )
    event = EventDraft(
        "engine.starting",
        f"{name} is started: {rule.why}.",
        deployment=name.deployment,
        replica=name.replica,
        subject=str(name),
        because=str(name.group),
        data={"generation": name.generation},
    )
    return ReplicaStep(rule.condition, remembered, (StartEngine(name, facts.fingerprint),), (event,))


def replace_by_user(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """End an engine that may be well, because the user wants another one in its place; first let it finish."""
    if (draining := drain(facts, rule.condition, rule.why)) is not None:
        return draining
    memory = replace(facts.memory.forgiven, engine_ended=True, proven_at=None, ever_ready=False, outage=None)
    return ReplicaStep(rule.condition, memory, ending(facts, rule.why), (ending_event(facts, rule.why),))


def hand_over(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """End an engine before the cloud takes a node of it; first let it finish what it was asked, while there is time."""
    if (draining := drain(facts, rule.condition, rule.why)) is not None:
        return draining
    move, memory = facts.memory.move, facts.memory
    cause = f"the cloud took node {move.node}" if move else "the cloud took a node of it"
    because = f"node:{move.node}" if move else ""
    outage = outage_of(facts, cause, because)
    memory = replace(memory.forgiven, engine_ended=True, whole_since=None, suspected_at=None, outage=outage)
    return ReplicaStep(rule.condition, memory, ending(facts, rule.why), (ending_event(facts, rule.why),))


def await_verdict(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Wait until Ray has judged a node that refuses connections, or for as long as that can take."""
    memory = facts.memory
    since = memory.whole_since if memory.suspected_at is None else memory.suspected_at
    return ReplicaStep(rule.condition, memory, wake_at=None if since is None else since + VERDICT_WAIT)


def back_off(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Wait until the next start is due."""
    return ReplicaStep(rule.condition, facts.memory, wake_at=facts.memory.retry_at)


def await_generation(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Wait for the first generation, until the time to start is over."""
    limit = facts.spec.engine_start_timeout
    return ReplicaStep(rule.condition, facts.memory, wake_at=None if limit is None else facts.memory.started_at + limit)


def ended(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """The engine ended with its gang whole, as far as Ray knows yet."""
    engine, memory = facts.engine, facts.memory
    words = engine.last_words if engine else ""
    hopeless = engine is not None and engine.refused_arguments and not memory.ever_ready
    return _failed(facts, rule, "vLLM refused its arguments" if hopeless else "the engine ended", words, hopeless)


def maimed(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """The engine runs on without a part of itself."""
    lost = facts.engine.lost_workers if facts.engine else 0
    return _failed(facts, rule, f"{lost} worker process{'es' if lost > 1 else ''} of the engine died", "")


def unseen(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """The engine is not among Ray's actors."""
    return _failed(facts, rule, "the engine has vanished from Ray's actors", "")


def wedged(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """The engine runs, perhaps says that it is healthy, and generates nothing."""
    cause = f"the engine is wedged: {facts.spec.canary.failures} canary generations in a row failed"
    return _failed(facts, rule, cause, facts.probe.last_error if facts.probe else "")


def silent(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """The engine has used up its time to start."""
    limit = format_duration(facts.spec.engine_start_timeout)
    words = facts.probe.last_error if facts.probe else ""
    counted = facts._replace(memory=with_silence(facts.memory))
    return _failed(counted, rule, f"the engine has not generated within {limit} of its start", words)


def _failed(facts: ReplicaFacts, rule: Rule, cause: str, words: str, hopeless: bool = False) -> ReplicaStep:
    """An engine failed with all nodes well, as far as is known: end it, count it, and put off the next start."""
    memory, now = facts.memory, facts.now
    served_well = memory.proven_at is not None and now - memory.proven_at >= STABLE
    failures = (0 if served_well else memory.failures) + 1
    retry_at = now + pause(failures)
    remembered = replace(
        memory,
        engine_ended=True,
        failures=failures,
        refused=hopeless,
        retry_at=retry_at,
        last_words=words,
        suspected_at=now,
        outage=outage_of(facts, cause, str(facts.name)),
    )
    event = engine_event(facts, "engine.failed", f"{facts.name} failed: {cause}.", failures=failures, last_words=words)
    return ReplicaStep(rule.condition, remembered, ending(facts, cause), (event,), wake_at=retry_at)


def serve(facts: ReplicaFacts, rule: Rule) -> ReplicaStep:
    """Let it serve; say so once, and close the outage that this ends."""
    memory, found = facts.memory, facts.engine
    backend = Backend(found.name, found.address, memory.fingerprint) if found is not None and found.address else None
    if memory.draining_since is not None:  # it was to go, and is to stay after all
        memory = replace(memory, draining_since=None)
    if memory.proven_at is not None and memory.outage is None:
        return ReplicaStep(rule.condition, memory, backend=backend)
    seen = facts.probe.proven_at if facts.probe else None
    proven_at = max(memory.started_at, memory.proven_at or seen or facts.now)
    if memory.adopted:
        # When it started is not known: its seconds would spoil what a next start is expected to take.
        event = engine_event(facts, "engine.ready", f"{facts.name}, found running, has generated.", str(facts.name))
    else:
        took = proven_at - memory.started_at
        message = f"{facts.name} generated {took:.1f} s after its start."
        event = engine_event(facts, "engine.ready", message, str(facts.name), seconds=took)
    remembered = replace(spoken(memory), proven_at=proven_at, ever_ready=True, outage=None)
    if memory.outage is None:
        return ReplicaStep(rule.condition, remembered, events=(event,), backend=backend)
    recovery, recovered = _recovered(facts, memory.outage, proven_at)
    return ReplicaStep(rule.condition, remembered, (), (event, recovered), recovery, backend=backend)


def _recovered(facts: ReplicaFacts, outage: Outage, proven_at: float) -> tuple[Recovery, EventDraft]:
    """The recovery and its event, with the parts of its length, in seconds."""
    recovery = Recovery(facts.memory.id, outage.since, outage.cause, max(0.0, proven_at - outage.since))
    whole_at = outage.since if outage.whole_at is None else outage.whole_at
    started_at = facts.memory.started_at if outage.started_at is None else outage.started_at
    parts = {
        "gang_seconds": whole_at - outage.since,
        "sweep_seconds": started_at - whole_at,
        "engine_seconds": proven_at - started_at,
    }
    message = f"Serving again {recovery.seconds:.1f} s after {outage.cause}."
    return recovery, engine_event(facts, "recovered", message, outage.because, seconds=recovery.seconds, parts=parts)
