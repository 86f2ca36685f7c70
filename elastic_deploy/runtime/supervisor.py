"""The supervisor: the loop observe, decide, apply, journal, around the pure core. One a cluster, on its head.

It owns the cluster's one resource request, the deployments' specs and the journal. It may be killed at any moment: it
writes its memory before it acts, and a new one finds everything by name. `supervisor_actor` makes it a Ray actor;
`server` lets the agent talk to it.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from elastic_deploy.core.decide import decide, resumed
from elastic_deploy.core.distrust import paths_wanted
from elastic_deploy.core.invariants import violations
from elastic_deploy.core.lease import is_leased, lease_term
from elastic_deploy.core.ledger import Ledger, advance
from elastic_deploy.core.past import expected_at, usual
from elastic_deploy.core.revise import acknowledged, difference, is_same, revised
from elastic_deploy.core.roster import spec_for
from elastic_deploy.core.status import ClusterFacts, status_document
from elastic_deploy.model.event import EventDraft
from elastic_deploy.model.front_door import FrontDoorWish, front_door_difference
from elastic_deploy.model.home import write_private
from elastic_deploy.model.memory import DeploymentMemory, Memory
from elastic_deploy.model.names import EngineName, GroupName
from elastic_deploy.model.snapshot import EngineSeen, EngineState, GroupState, Reading, Snapshot
from elastic_deploy.model.spec import ClusterSpec, DeploymentSpec
from elastic_deploy.runtime import client_keys, store
from elastic_deploy.runtime.apply import Applier
from elastic_deploy.runtime.certificate_files import drop_certificate, put_certificate
from elastic_deploy.runtime.front_door import FrontDoor
from elastic_deploy.runtime.group_watch import GroupWatch
from elastic_deploy.runtime.interruption_watch import InterruptionWatch, is_watched
from elastic_deploy.runtime.journal import Event, Journal
from elastic_deploy.runtime.journal_reader import JournalReader
from elastic_deploy.runtime.lease import Lease
from elastic_deploy.runtime.limits_file import LimitsFile, limits_path
from elastic_deploy.runtime.load_files import read_loads
from elastic_deploy.runtime.monitor import find_monitor, start_monitor
from elastic_deploy.runtime.observe import Observer
from elastic_deploy.runtime.path_look import PathLook
from elastic_deploy.runtime.probe import Prober, Target
from elastic_deploy.runtime.store import State

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between looks at the least often. A look costs a few milliseconds of the GCS's time."""

MONITOR_PERIOD = 5.0
"""Seconds between looks for the autoscaler's process, and between attempts to start it again."""


class Supervisor:
    """One cluster's supervisor. All methods belong to one event loop."""

    def __init__(self, directory: Path, gcs_address: str, session: str, logs: Path, host: str) -> None:
        self._directory = directory
        self._gcs_address = gcs_address
        self._host = host
        self._journal = Journal(directory / "journal.jsonl")
        self._told = JournalReader(self._journal)
        self._grown = asyncio.Condition()
        self._wake = asyncio.Event()
        self._state = self._restored(session)
        self._snapshot = Snapshot(time.time(), Reading(0.0), Reading(0.0), Reading(0.0))
        self._monitor_seen = 0.0
        self._monitor_command = self._state.monitor_command
        self._withheld = ""
        self._observer = Observer(logs, self._is_monitor_alive)
        self._limits = LimitsFile()
        self._prober = Prober(self._wake.set)
        self._group_watch = GroupWatch(self._wake.set)
        self._path_look = PathLook(self._wake.set)
        self._interruptions = InterruptionWatch(self._wake.set, self._state.notices)
        self._applier = Applier(directory, self.engine_key, self._expected, self._wake.set)
        self._front_door = FrontDoor(directory, host, lambda: self._state.door, self._wake.set)
        self._lease = Lease(directory, gcs_address, session)

    def _restored(self, session: str) -> State:
        found = store.load(self._directory / "state.json")
        state = found or State()
        # Engines may run of which the lost state knew: to decide without it would be to end them all.
        self._holds_back = found is None and (self._directory / "state.json.unreadable").exists()
        if state.session and state.session != session:
            # Another head: no group and no engine of the old one is left, but what was wanted still is.
            return replace(state, session=session, memory=Memory(), ledger=Ledger(), monitor_command=(), notices=())
        return replace(state, session=session, memory=resumed(state.memory))

    # The loop

    async def run(self) -> None:
        """Supervise for ever."""
        await self._record([EventDraft("supervisor.started", "The supervisor runs.", subject="supervisor")])
        if ending := self._lease.take_ending():
            await self._record([EventDraft("lease.ended", ending, subject="lease", because="supervisor")])
        if self._holds_back:
            message = "Its state cannot be read: nothing is started or ended until `up` or `down` says what is wanted."
            await self._record([EventDraft("state.unreadable", message, subject="supervisor", because="supervisor")])
        while True:
            wake_at = await self._step()
            delay = min(TICK, max(0.05, (wake_at or time.time() + TICK) - time.time()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay)
            self._wake.clear()

    async def _step(self) -> float | None:
        self._lease.touch()
        state = self._state
        snapshot = await self._observer.look(self._prober.seen, self._applier.take_failures(), self._watched())
        loads = await asyncio.to_thread(read_loads, self._directory)
        seen, paths = self._interruptions.seen, self._path_look.seen
        limits = await asyncio.to_thread(self._limits.look, limits_path(self._monitor_command))
        snapshot = replace(
            snapshot, notices=seen, paths=paths, loads=loads, usual=usual(self._told.past()), capacity=limits
        )
        self._snapshot = snapshot
        now = time.time()
        ledger, changes = advance(state.ledger, snapshot)
        await self._record(changes)
        if self._holds_back:
            return None
        # The specs may have been changed while the world was looked at: the newest hold.
        spec = self._state.spec
        # So has the memory, where the user has decided anew.
        memory = self._state.memory
        decision = decide(spec, snapshot, memory, now)
        if broken := violations(spec, snapshot, memory, now, decision):
            await self._withhold("; ".join(broken), ledger)
            return None
        self._save(
            replace(
                self._state,
                spec=decision.spec,
                memory=decision.memory,
                ledger=ledger,
                monitor_command=self._monitor_command,
                notices=snapshot.notices,
            )
        )
        self._withheld = ""
        await self._record(decision.why)
        await self._renew_lease()
        # With the spec that the decision was made on: that one has every version for which an engine is started now.
        self._applier.carry_out(decision.actions, spec)
        if snapshot.engines.known:
            self._prober.follow(self._targets())
        self._group_watch.follow(snapshot.groups.value or ())
        self._path_look.follow(paths_wanted(decision.memory))
        self._watch_for_interruptions(snapshot)
        await self._front_door.keep(self._state.port, wanted=any(d.wanted for d in spec.deployments))
        return decision.wake_at

    async def _renew_lease(self) -> None:
        """Begin another term of the lease on the GPUs: whoever runs this loop supervises them."""
        spec, memory = self._state.spec, self._state.memory
        await asyncio.to_thread(self._lease.renew, lease_term(spec), leased=is_leased(spec, memory))

    def _watch_for_interruptions(self, snapshot: Snapshot) -> None:
        """Ask the nodes that hold bundles of ours what their cloud says of their end, where there is one to say it."""
        if snapshot.nodes.value is None or snapshot.groups.value is None or not is_watched(self._state.provider):
            return
        groups = [group for group in snapshot.groups.value if group.state is not GroupState.REMOVED]
        self._interruptions.follow(snapshot.nodes.value, {ray_id for g in groups for ray_id in g.bundle_nodes})

    async def _withhold(self, broken: str, ledger: Ledger) -> None:
        """A decision that breaks an invariant is a bug of ours: say so once, and do nothing rather than harm."""
        self._save(replace(self._state, ledger=ledger))
        if broken != self._withheld:
            log.error("a decision broke invariants and was not carried out: %s", broken)
            await self._record([EventDraft("bug", f"A decision was withheld: it {broken}.", subject="bug")])
        self._withheld = broken

    def _save(self, state: State) -> None:
        if state != self._state:
            store.save(self._directory / "state.json", state)
        self._state = state

    async def _record(self, drafts: list[EventDraft] | tuple[EventDraft, ...]) -> None:
        if self._journal.append(drafts, time.time()):
            async with self._grown:
                self._grown.notify_all()

    def _expected(self) -> dict[str, float]:
        """When each deployment that does not serve is expected to, by this cluster's past."""
        return expected_at(self._state.memory.deployments, self._told.past(), time.time())

    def _watched(self) -> set[str]:
        """Nodes of replicas that do not serve: one of them may be about to be declared dead."""
        replicas = [replica for d in self._state.memory.deployments for replica in d.replicas]
        return {node for r in replicas if r.engine_ended or r.proven_at is None for node in r.members}

    def _targets(self) -> list[Target]:
        specs = {d.name: d for d in self._state.spec.deployments}
        draining = {
            EngineName(d.name, r.id, r.generation)
            for d in self._state.memory.deployments
            for r in d.replicas
            if r.draining_since is not None
        }
        targets = []
        for engine in self._snapshot.engines.value or ():
            wanted = specs.get(engine.name.deployment)
            if wanted is None or engine.state is not EngineState.RUNNING or not engine.address:
                continue
            spec = spec_for(wanted, engine.version)
            key = self.engine_key(spec.name)
            drains = engine.name in draining
            targets.append(
                Target(engine.name, engine.address, spec.served_model_name, key, spec.canary, draining=drains)
            )
        return targets

    def _is_monitor_alive(self) -> bool:
        """Whether the autoscaler runs; one that has died is started again. Runs in the observer's thread."""
        now = time.time()
        if now - self._monitor_seen < MONITOR_PERIOD and self._snapshot.monitor_alive.value:
            return True
        self._monitor_seen = now
        command = find_monitor(self._gcs_address)
        if command:
            self._monitor_command = command
            return True
        if self._monitor_command:
            start_monitor(self._monitor_command)
        return False

    # Keys

    def _key(self, name: str) -> str:
        path = self._directory / "keys" / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text().split("\n", 1)[0]

    def client_key(self, deployment: str) -> str:
        """The key that clients of a deployment show to the front door."""
        return self._key(deployment)

    def engine_key(self, deployment: str) -> str:
        """The key that a deployment's engines demand, unknown to clients."""
        return self._key(f"{deployment}.engine")

    # What the agent asks

    def hello(self, cluster: str, provider: str) -> dict[str, Any]:
        """Take down whose supervisor this is, and say who answers."""
        if cluster and (cluster, provider) != (self._state.cluster, self._state.provider):
            self._save(replace(self._state, cluster=cluster, provider=provider))
        return {"session": self._state.session, "cluster": self._state.cluster}

    def _found(self, name: str) -> tuple[DeploymentSpec | None, DeploymentMemory | None]:
        spec = next((d for d in self._state.spec.deployments if d.name == name), None)
        memory = next((d for d in self._state.memory.deployments if d.name == name), None)
        return spec, memory

    def _door_difference(self, door: FrontDoorWish) -> list[str]:
        """What a wish changes of the front door; nothing before there is one."""
        old = FrontDoorWish(self._state.port, self._state.door)
        return front_door_difference(old, door) if any(d.wanted for d in self._state.spec.deployments) else []

    def compare(self, wish: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]:
        """What `apply` would change: of the deployment, and of the front door that all of them share."""
        old, memory = self._found(wish.name)
        return {
            "exists": old is not None and old.wanted,
            "phase": memory.phase if memory else "",
            "difference": difference(old, wish) if old is not None and old.wanted else [],
            "front_door": self._door_difference(door),
        }

    async def apply(self, wish: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]:
        """Make a wish the spec."""
        self._front_door.require_port(door.port)
        put_certificate(self._directory, door)
        last = self._journal.last_id
        self._holds_back = False
        old, memory = self._found(wish.name)
        spec = revised(old, memory, wish)
        is_new_door = (door.port, door.options) != (self._state.port, self._state.door)
        changed = old is None or not is_same(old, spec) or is_new_door
        lines = [*(difference(old, spec) if old is not None else []), *self._door_difference(door)]
        self.client_key(wish.name)
        self.engine_key(wish.name)
        self._save(replace(self._state, memory=acknowledged(self._state.memory, spec.name)))
        if changed:
            others = tuple(d for d in self._state.spec.deployments if d.name != wish.name)
            self._save(replace(self._state, spec=ClusterSpec((*others, spec)), port=door.port, door=door.options))
            asked = f"{spec.shape.gpus} GPUs for {spec.served_model_name}"
            what = "; ".join(lines if lines and old is not None else [asked, *lines])
            subject = f"deployment:{spec.name}"
            await self._record([EventDraft("applied", f"{spec.name}: {what}.", spec.name, subject=subject)])
            self._wake.set()
        if not door.options.certificate:
            drop_certificate(self._directory)
        return {"changed": changed, "difference": lines, "api_key": self.client_key(spec.name), "event": last}

    async def keys(self, request: dict[str, Any]) -> dict[str, Any]:
        """List or change the keys of a deployment's clients."""
        names = [d.name for d in self._state.spec.deployments]
        answer, told = client_keys.answer(self._directory / "keys", names, request)
        await self._record(told)
        return answer

    async def stop(self, name: str | None) -> dict[str, Any]:
        """Stop one deployment, or all."""
        self._holds_back = False
        chosen = [d for d in self._state.spec.deployments if d.wanted and name in (None, d.name)]
        names = {d.name for d in chosen}
        if chosen:
            kept = tuple(replace(d, wanted=d.wanted and d.name not in names) for d in self._state.spec.deployments)
            self._save(replace(self._state, spec=ClusterSpec(kept)))
            await self._record(
                [
                    EventDraft("stopped", f"{n} is stopped by the user.", n, subject=f"deployment:{n}")
                    for n in sorted(names)
                ]
            )
            self._wake.set()
        known = {d.name for d in self._state.spec.deployments}
        return {"stopped": sorted(names), "known": name is None or name in known}

    def status(self) -> dict[str, Any]:
        """The contract's status document."""
        state = self._state
        endpoint = f"{state.door.scheme}://{self._host}:{state.port}/v1"
        facts = ClusterFacts(state.cluster, state.provider, self._gcs_address, endpoint)
        past, tracks = self._told.past(), self._told.tracks()
        document = status_document(
            state.spec, state.memory, state.ledger, self._snapshot, facts, time.time(), past, tracks
        )
        lease = {"renewed_at": self._lease.renewed_at, "ends_at": self._lease.ends_at}
        document["request"]["lease"] = lease if self._lease.renewed_at is not None else None
        return document

    def engines(self, deployment: str | None, replica: str | None) -> list[tuple[EngineName, str]]:
        """The latest engine of each replica chosen, with Ray's id of its node ("" where it has none yet)."""
        latest: dict[GroupName, EngineSeen] = {}
        for engine in sorted(self._snapshot.engines.value or (), key=lambda e: e.name):
            if deployment in (None, engine.name.deployment) and replica in (None, engine.name.replica):
                latest[engine.name.group] = engine
        return [(engine.name, engine.node) for engine in latest.values()]

    async def events(self, after: str | None, *, follow: bool) -> AsyncIterator[Event]:
        """The journal from after an event on; with `follow`, for as long as the caller listens."""
        while True:
            for event in self._journal.after(after):
                after = event["id"]
                yield event
            if not follow:
                return
            async with self._grown:
                if not self._journal.after(after):
                    await self._grown.wait()
