"""Why a deployment is in its phase, in a sentence or two for a person: `status`'s `reason`.

Called by `core.status`. It judges replicas by the same facts and rules as the decision itself, so that what is said
is what is done; it decides nothing.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from elastic_deploy.core.classify import Condition, classify
from elastic_deploy.core.facts import HANDOVER, Index, ReplicaFacts, facts_of
from elastic_deploy.core.gang import note_whole
from elastic_deploy.core.launches import launch_next, launch_said, setup_next, setup_said
from elastic_deploy.core.phase import phase_of, replica_phase
from elastic_deploy.core.pool_words import pool_sentences
from elastic_deploy.core.roster import asked_gpus, proven, spec_for
from elastic_deploy.core.scaling import is_asleep
from elastic_deploy.core.tally import counted, tally
from elastic_deploy.model.duration import clock, format_duration
from elastic_deploy.model.memory import DeploymentMemory, FailureKind, ReplicaMemory
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.snapshot import EngineStage, LaunchFailure, LaunchOutcome, SetupState, SetupTrouble, Snapshot
from elastic_deploy.model.spec import DeploymentSpec, OnFailure

FAILURES_TOLD = 120.0
"""Seconds for which a refused launch is told of: the autoscaler tries again every few seconds, so an older one has
been followed by a launch that was not refused."""


_GATHERING = (
    Condition.GROUP_ABSENT,
    Condition.GROUP_UNFIT,
    Condition.GROUP_DOOMED,
    Condition.GANG_INCOMPLETE,
    Condition.GANG_BROKEN,
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What past waits let one expect of the next, in seconds: the middle one of them and the longest."""

    median: float
    worst: float
    waits: int


def eta(past: Sequence[float]) -> Expectation | None:
    """What to expect after waits of so many seconds each; None where there was none."""
    return Expectation(median(past), max(past), len(past)) if past else None


def reason(spec: DeploymentSpec, memory: DeploymentMemory | None, snapshot: Snapshot, now: float) -> str:
    """Why a deployment is where it is, what is done about it, and until when. Times are seconds since the epoch."""
    if memory is None:
        return "It has been handed to the supervisor, which has not looked at it yet."
    phase = phase_of(spec, memory, now)
    if phase is Phase.STOPPED:
        return _stopped(memory)
    if phase is Phase.FAILED:
        return _failed(spec, memory)
    if is_asleep(spec, memory):
        return _sleeping(spec, memory, now)
    replicas = _Replicas(spec, memory, Index.of(snapshot), now)
    said = {
        Phase.WAITING: _waiting,
        Phase.STARTING: _starting,
        Phase.READY: _ready,
        Phase.RECOVERING: _recovering,
        Phase.DEGRADED: _degraded,
    }[phase](replicas)
    pools = pool_sentences(spec, memory, now)
    return " ".join([said, *_moving(replicas), *_change(replicas), *pools, *_obstacles(replicas, phase)])


@dataclass(frozen=True, slots=True)
class _Replicas:
    """A deployment's replicas as they are now."""

    spec: DeploymentSpec
    memory: DeploymentMemory
    index: Index
    now: float

    def of(self, phase: Phase) -> list[ReplicaMemory]:
        """The wanted replicas that are in a phase."""
        return [r for r in self.memory.staying if replica_phase(r) is phase]

    @property
    def gpus(self) -> int:
        """GPUs that it asks for."""
        return self.spec.shape.gpus if self.spec.former is None else asked_gpus(self.spec, self.memory)

    def ago(self, then: float) -> str:
        """How long ago something was."""
        return format_duration(max(0.0, self.now - then))

    def ahead(self, then: float) -> str:
        """How long it is until something is."""
        return format_duration(max(0.0, then - self.now))

    def serving(self) -> str:
        """How many replicas serve; empty where there is only one."""
        total = self.spec.shape.replicas if self.spec.former is None else len(self.memory.staying)
        ready = len(self.of(Phase.READY))
        return f" {ready} of {total} replicas serve{'s' if ready == 1 else ''}." if total > 1 else ""


def _sleeping(spec: DeploymentSpec, memory: DeploymentMemory, now: float) -> str:
    since = memory.scale.since if memory.scale else now
    left = f" What is left of {', '.join(r.id for r in memory.replicas)} is being ended." if memory.replicas else ""
    return (
        f"It sleeps since {format_duration(max(0.0, now - since))}, after {format_duration(spec.idle_timeout)} without"
        f" a request: no GPU is asked for, and the next request is held and wakes it.{left}"
    )


def _stopped(memory: DeploymentMemory) -> str:
    if memory.replicas:
        ids = ", ".join(replica.id for replica in memory.replicas)
        return f"It was stopped: what is left of {ids} is being ended and its GPUs released."
    return "It was stopped: nothing of it runs, and no GPU is asked for."


def _failed(spec: DeploymentSpec, memory: DeploymentMemory) -> str:
    failure = memory.failure
    if failure is None:
        return "It has failed."
    if spec.on_failure is OnFailure.KEEP:
        gpus, then = "Its GPUs are kept", ", or `down` to release them"
    else:
        gpus, then = "Its GPUs were released", ""
    if failure.kind is FailureKind.WAIT_TIMEOUT:
        mend = "wait longer with --wait-timeout, or ask for fewer GPUs"
    else:
        mend = "mend what the engine's log names"
    return f"{failure.message} {gpus}: {mend}, and run `up` again{then}."


def _waiting(r: _Replicas) -> str:
    clause = f"Waiting for {counted(r.gpus, 'GPU')}: {_tally(r)}; {r.ago(r.memory.waiting_since)} so far"
    limit = r.spec.wait_timeout
    if limit is None:
        return f"{clause}, and the wait has no deadline.{r.serving()}"
    return f"{clause}, {r.ahead(r.memory.waiting_since + limit)} until the deadline.{r.serving()}"


def _tally(r: _Replicas) -> str:
    if not r.index.snapshot.nodes.known or not r.index.snapshot.groups.known:
        return "how many have come is unknown at the moment"
    return str(tally(r.spec, r.gpus, r.index.snapshot))


def _starting(r: _Replicas) -> str:
    return f"{_upper(_state(r, r.of(Phase.STARTING)[0]))}.{r.serving()}"


def _ready(r: _Replicas) -> str:
    since = max(replica.proven_at or 0.0 for replica in r.of(Phase.READY))
    return f"Serving for {r.ago(since)}: a real generation has come back from every replica."


def _recovering(r: _Replicas) -> str:
    replica = r.of(Phase.RECOVERING)[0]
    outage = replica.outage
    told = f"Recovering for {r.ago(outage.since)}, since {outage.cause}" if outage else "Recovering"
    return f"{told}: {_state(r, replica)}. Recovery has no deadline.{r.serving()}"


def _degraded(r: _Replicas) -> str:
    if r.spec.full is not None:
        return _lowered(r, r.spec.full)
    behind = [*r.of(Phase.RECOVERING), *r.of(Phase.WAITING), *r.of(Phase.STARTING)]
    states = "; ".join(f"{replica.id}: {_state(r, replica)}" for replica in behind[:3])
    more = f"; and {len(behind) - 3} more" if len(behind) > 3 else ""
    return f"Serving in a smaller shape than asked.{r.serving()} Of the rest, {states}{more}. This has no deadline."


def _lowered(r: _Replicas, full: Shape) -> str:
    """What is said of a deployment that serves on a rung of its ladder."""
    low, wanted = r.memory.lowered, counted(full.gpus, "GPU")
    since = f" for {r.ago(low.since)}" if low else ""
    beside = f", with {shlex.join(r.spec.rung_arguments)}" if r.spec.rung_arguments else ""
    told = f"Serving in a smaller shape than asked{since}, on {r.spec.shape.gpus} of {wanted}{beside}.{r.serving()}"
    if low is not None and low.retry_at > r.now:
        return f"{told} The full shape did not come up and is tried again in {r.ahead(low.retry_at)}."
    if not r.index.snapshot.nodes.known or not r.index.snapshot.groups.known:
        return told
    come = tally(r.spec, full.gpus, r.index.snapshot)
    return f"{told} The rest is asked for further, and the full shape takes over when it has come: {come}."


def _change(r: _Replicas) -> list[str]:
    """How a change fares that is being rolled out, or was given up."""
    spec, refused = r.spec, r.memory.refused
    if spec.former is None:
        return [f"Its last change was given up, and what was before serves on. {refused.message}"] if refused else []
    version = spec.fingerprint
    total = spec.shape.replicas
    done = (
        f"{proven(spec, r.memory, version)} of {counted(total, 'replica')} serve{'s' if total == 1 else ''} it so far"
    )
    if spec.restoring:
        why = f" {refused.message}" if refused else ""
        return [f"Its last change was given up, and what was before is restored: {done}.{why}"]
    coming = [replica for replica in r.memory.staying if replica.version == version and not replica.serves]
    going = [replica for replica in r.memory.replicas if replica.serves and replica.draining_since is not None]
    states = [f"{replica.id}: {_state(r, replica)}" for replica in coming[:1]]
    states += [f"{replica.id} finishes what it was asked" for replica in going[:1]]
    return [f"A change is being rolled out: {done}{'; ' if states else ''}{'; '.join(states)}."]


def _moving(r: _Replicas) -> list[str]:
    """What becomes of replicas on nodes that the cloud is about to take, a sentence for each."""
    sentences = []
    coming = [replica for replica in r.memory.staying if not replica.serves and replica.move is None]
    for replica in [replica for replica in r.memory.replicas if replica.move and replica.serves]:
        move = replica.move
        if move is None:
            continue
        told = f"The cloud takes node {move.node} of {replica.id} at {clock(move.at)}"
        if replica.leaving:
            then = "it finishes what it was asked"
        elif coming:
            then = f"it serves until {coming[0].id} does in its place; {coming[0].id}: {_successor(r, coming[0])}"
        elif r.now >= move.at - HANDOVER:
            then = "it finishes what it was asked, and is started anew on another node; requests are held meanwhile"
        else:
            then = (
                "it serves until shortly before, because the cluster has no room for another beside it, and is then "
                "started anew on another node; requests are held meanwhile"
            )
        sentences.append(f"{told}: {then}.")
    return sentences


def _successor(r: _Replicas, replica: ReplicaMemory) -> str:
    """What a successor waits for. How many GPUs have come is not told: those of the old one would be among them."""
    if replica_phase(replica) is Phase.WAITING:
        return f"waiting for its {counted(r.spec.shape.gpus_per_replica, 'GPU')} together"
    return _state(r, replica)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _state(r: _Replicas, replica: ReplicaMemory) -> str:
    """What one replica that does not serve is waiting for, as a clause."""
    spec = spec_for(r.spec, replica.version)
    facts, _ = note_whole(facts_of(spec, replica, r.index, r.now))
    if replica.serves and replica.draining_since is not None:
        return f"{_engine(facts)} finishes what it was asked before it is changed"
    condition = classify(facts).condition
    if condition in _GATHERING:
        return f"waiting for its {counted(spec.shape.gpus_per_replica, 'GPU')} together: {_tally(r)}"
    if condition in (Condition.OLDER_ENGINE, Condition.ENGINE_LEAVING, Condition.REPLACED_BY_USER):
        return f"what is left of {_engine(facts)} is being ended before its successor is started"
    if condition is Condition.POOLS_REST:
        return "no pool is to be asked for its GPUs at the moment"
    if condition is Condition.NODE_SUSPECT:
        nodes = ", ".join(node.id for node in facts.suspect_nodes)
        return f"node {nodes} refuses connections, and Ray's verdict on it is awaited before an engine is started"
    if condition is Condition.PATHS_ASKED:
        return f"{_failures(facts)}; its nodes are being asked whether they reach each other"
    if condition is Condition.NODE_DISTRUSTED and replica.distrust is not None:
        return f"node {replica.distrust.name} is trusted no more, and Ray is about to drain it"
    if condition is Condition.BACKING_OFF:
        return f"{_failures(facts)}; the next is started in {r.ahead(replica.retry_at)}"
    if condition is Condition.BLIND:
        return "it is not known at the moment how it fares"
    if facts.has_engine:
        return _coming_up(r, facts)
    return "its GPUs are whole and its engine is about to be started"


def _engine(facts: ReplicaFacts) -> str:
    name = facts.name
    return f"the engine of {name.deployment}/{name.replica} (generation {name.generation})"


def _failures(facts: ReplicaFacts) -> str:
    memory = facts.memory
    times = "once" if memory.failures == 1 else f"{memory.failures} times in a row"
    words = f" (its last words: {memory.last_words})" if memory.last_words else ""
    return f"{_engine(facts)} failed, {times} of at most {facts.spec.max_engine_failures}{words}"


_STAGE_WORDS: dict[EngineStage | None, str] = {
    EngineStage.WEIGHTS: "loads its weights",
    EngineStage.ENGINE: "has its weights, but has not generated yet",
}


def _coming_up(r: _Replicas, facts: ReplicaFacts) -> str:
    memory, limit = facts.memory, r.spec.engine_start_timeout
    verb = "was found running" if memory.adopted else "was started"
    until = "it has no deadline" if limit is None else f"it has {r.ahead(memory.started_at + limit)} left"
    stage = _STAGE_WORDS.get(facts.engine.stage, "has not generated yet") if facts.engine else "has not generated yet"
    return f"{_engine(facts)} {verb} {r.ago(memory.started_at)} ago and {stage}; {until}"


def _obstacles(r: _Replicas, phase: Phase) -> list[str]:
    """What stands in the way, a sentence each."""
    sentences = []
    if r.index.blind:
        sentences.append(f"Not everything can be seen now ({r.index.blind}): nothing is started or ended meanwhile.")
    if r.index.snapshot.monitor_alive.value is False:
        sentences.append("Ray's autoscaler is dead: no node will be launched until it is back.")
    if r.memory.never_fits and phase is not Phase.READY:
        sentences.append(f"By the limits that the cluster has now, {r.memory.never_fits}")
    if phase in (Phase.WAITING, Phase.RECOVERING, Phase.DEGRADED):
        # Of a pool that rests it has been said why.
        resting = {rest.pool for rest in r.memory.rests if rest.until > r.now}
        silent = {each for pool in r.spec.pools if pool.name in resting for each in pool.node_types}
        told = [failure for failure in r.index.snapshot.launch_failures if failure.node_type not in silent]
        sentences += [_refusal(r, failures) for failures in _latest(told, r.now)]
        sentences += [
            f"{setup_said(trouble, r.now)}. {setup_next(trouble)}"
            for trouble in _unwell(r.index.snapshot.setup_troubles, r.now)
        ]
    return sentences


def _latest(failures: Sequence[LaunchFailure], now: float) -> list[list[LaunchFailure]]:
    """Each kind of refusal that is recent enough to be told, with all of it, the latest kind first.

    What came elsewhere, and what was tried again and then refused or not, needs no more words.
    """
    settled = {LaunchOutcome.ELSEWHERE, LaunchOutcome.RETRYING}
    latest: dict[str, float] = {f.node_type: f.at for f in sorted(failures, key=lambda f: f.at)}
    kinds: dict[tuple[str, str, LaunchOutcome], list[LaunchFailure]] = {}
    for failure in sorted((f for f in failures if now - f.at <= FAILURES_TOLD), key=lambda f: f.at):
        if failure.outcome not in settled or failure.at == latest[failure.node_type]:
            kinds.setdefault((failure.node_type, failure.code, failure.outcome), []).append(failure)
    return sorted(kinds.values(), key=lambda kind: -kind[-1].at)


def _refusal(r: _Replicas, failures: Sequence[LaunchFailure]) -> str:
    last = failures[-1]
    times = f", {len(failures)} times in {r.ago(failures[0].at)}" if len(failures) > 1 else ""
    return f"{launch_said(last)} ({r.ago(last.at)} ago{times}). {launch_next(last)}"


def _unwell(troubles: Sequence[SetupTrouble], now: float) -> list[SetupTrouble]:
    """The last word on each node whose set-up is in trouble, as long as it is news or lasts."""
    last = {t.node: t for t in sorted(troubles, key=lambda t: t.at)}
    return [t for t in last.values() if t.state is SetupState.WAITING or now - t.at <= FAILURES_TOLD]
