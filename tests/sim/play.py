"""A supervisor in the scripted world: observe, decide, check, apply; and the user and the faults that befall it."""

from dataclasses import dataclass, field, replace

from elastic_deploy.core.decide import Decision, decide, resumed
from elastic_deploy.core.distrust import paths_wanted
from elastic_deploy.core.facts import HANDOVER
from elastic_deploy.core.invariants import illegal_turns, violations
from elastic_deploy.core.revise import revised
from elastic_deploy.model.action import Action, EndEngine, Route, StartEngine
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.memory import DeploymentMemory, Memory
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.phase import Phase
from elastic_deploy.model.snapshot import ActionFailure
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec

from .world import Engine, World


@dataclass
class Play:
    """One history: the world, what the user wants, and the supervisor's memory."""

    world: World
    spec: ClusterSpec
    memory: Memory = field(default_factory=Memory)
    delayed: list[tuple[float, Action]] = field(default_factory=list)
    failing_until: float = 0.0
    late_until: float = 0.0
    twice_until: float = 0.0
    failures: tuple[ActionFailure, ...] = ()
    started_for: dict[EngineName, str] = field(default_factory=dict)
    given_up: set[EngineName] = field(default_factory=set)
    events: list[EventDraft] = field(default_factory=list)
    log: list[tuple[float, object]] = field(default_factory=list)

    @property
    def now(self) -> float:
        """The world's time."""
        return self.world.now

    def run(self, seconds: float) -> None:
        """Let the supervisor tick once a second for so long."""
        for _ in range(int(seconds)):
            self.tick()

    def tick(self) -> Decision:
        """One second, and one step of the loop."""
        self.world.advance()
        due = [action for at, action in self.delayed if at <= self.now]
        self.delayed = [(at, action) for at, action in self.delayed if at > self.now]
        for action in due:
            self.world.carry_out(action)
        decision = self.decide()
        self.memory, self.spec = decision.memory, decision.spec
        self._apply(decision.actions)
        assert not self.world.problems, self.story(self.world.problems)
        return decision

    def decide(self) -> Decision:
        """A decision, and everything that must hold of it."""
        paths = self.world.paths(paths_wanted(self.memory))
        snapshot = replace(self.world.snapshot(), action_failures=self.failures, paths=paths)
        self.failures = ()
        decision = decide(self.spec, snapshot, self.memory, self.now)
        self.log += [(self.now, what) for what in (*decision.actions, *decision.why)]
        self.events += decision.why
        assert decision == decide(self.spec, snapshot, self.memory, self.now), "the same input gave another decision"
        broken = violations(self.spec, snapshot, self.memory, self.now, decision)
        assert not broken, self.story(broken)
        turns = illegal_turns(self.memory, decision)
        assert not turns, self.story(turns)
        for action in decision.actions:
            if isinstance(action, EndEngine):
                self._check_end(action.name, decision)
            elif isinstance(action, StartEngine):
                wanted = self.wanted(action.name.deployment)
                assert wanted is not None, self.story([f"{action.name} is started though nobody wants it"])
                known = {wanted.fingerprint, wanted.former.fingerprint if wanted.former else ""}
                known |= {wanted.on(rung).fingerprint for rung in wanted.rungs}
                assert action.version in known, self.story([f"{action.name} is started for a version nobody wants"])
                self.started_for[action.name] = action.version
                self.given_up.discard(action.name)
        return decision

    def _check_end(self, name: EngineName, decision: Decision) -> None:
        """An engine with which nothing is wrong is ended by nothing but the user's change or a stated failure."""
        engine, wanted = self.world.engines.get(name), self.wanted(name.deployment)
        memory = next((d for d in decision.memory.deployments if d.name == name.deployment), None)
        replica = next((r for r in memory.replicas if r.id == name.replica), None) if memory else None
        excused = (
            engine is None
            or name in self.given_up
            or wanted is None
            or not wanted.wanted
            or replica is None
            or replica.leaving != ""
            or self.started_for.get(name) != (replica.version or wanted.fingerprint)
            or (memory is not None and memory.failure is not None)
            or self._is_about_to_go(engine)
        )
        self.given_up.add(name)
        if not excused and engine is not None:
            assert not self.world.is_well(engine), self.story([f"{name} was ended though nothing is wrong with it"])

    def _is_about_to_go(self, engine: Engine) -> bool:
        """Whether the cloud is about to take a node of an engine."""
        times = [self.world.machines.nodes[host].taken_at for host in engine.hosts]
        return any(at is not None and self.now >= at - HANDOVER for at in times)

    def _apply(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if self.now < self.failing_until:
                self.failures += (ActionFailure(type(action).__name__, "", "the GCS does not answer"),)
                continue
            if self.now < self.late_until or self.delayed:
                # What comes late comes in order: the edge never lets an action overtake one of its kind.
                self.delayed.append((self.now + 3.0, action))
            else:
                self.world.carry_out(action)
            if self.now < self.twice_until:
                self.world.carry_out(action)

    def restart(self, *, forget: bool = False) -> None:
        """The supervisor is killed and comes back, with its memory or without; what it was doing is not done."""
        self.delayed = []
        self.failures = ()
        self.memory = Memory() if forget else resumed(self.memory)

    def restart_before_acting(self) -> None:
        """The supervisor is killed between writing its memory and acting on it."""
        decision = self.decide()
        self.memory, self.spec = decision.memory, decision.spec
        self.restart()

    def change(self, name: str, **changes: object) -> None:
        """The user wants something else, as the supervisor takes it up."""
        changed = [
            revised(d, self.remembered(name), replace(d, **changes)) if d.name == name else d  # type: ignore[arg-type]
            for d in self.spec.deployments
        ]
        self.spec = ClusterSpec(tuple(changed))

    def stop(self, name: str) -> None:
        """The user wants it no more."""
        self.spec = ClusterSpec(tuple(replace(d, wanted=d.wanted and d.name != name) for d in self.spec.deployments))

    def wanted(self, name: str) -> DeploymentSpec | None:
        """A deployment's spec."""
        return next((d for d in self.spec.deployments if d.name == name), None)

    def remembered(self, name: EngineName | str) -> DeploymentMemory | None:
        """A deployment's memory."""
        deployment = name if isinstance(name, str) else name.deployment
        return next((d for d in self.memory.deployments if d.name == deployment), None)

    def phase(self, name: str) -> Phase | None:
        """A deployment's phase."""
        memory = self.remembered(name)
        return Phase(memory.phase) if memory and memory.phase else None

    def serving(self) -> list[Engine]:
        """The engines to which requests go and that answer them."""
        routed = [backend.engine for entry in self.world.routes for backend in entry.backends]
        return [
            self.world.engines[n]
            for n in routed
            if n in self.world.engines and self.world.engines[n].generates(self.now)
        ]

    def story(self, why: list[str]) -> str:
        """What went wrong, and all that led to it."""
        told = [f"{at:g} {what}" for at, what in self.log[-80:] if not isinstance(what, Route)]
        return "\n".join([*why, "-- the story so far --", *told])
