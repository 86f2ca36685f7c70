"""The end of a lease: the request is cleared, engines are ended, groups removed. Run by `lease_keeper`.

What is done is what the supervisor does where nothing is wanted: the same decisions, carried out the same way. What is
wanted stays on disk, so a supervisor that comes back simply asks again; from then on nothing more is ended here.
"""

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import ray

from elastic_deploy.core.decide import decide
from elastic_deploy.gateway.table import BrokenTableError, RoutingTable, dump_table, load_table
from elastic_deploy.model.action import RequestResources, Route
from elastic_deploy.model.home import write_private
from elastic_deploy.model.memory import Memory
from elastic_deploy.model.names import NAMESPACE
from elastic_deploy.model.snapshot import EngineState, GroupState, Snapshot
from elastic_deploy.model.spec import ClusterSpec
from elastic_deploy.runtime import ray_tables
from elastic_deploy.runtime.apply import Applier
from elastic_deploy.runtime.lease_keeper import renewal_of
from elastic_deploy.runtime.lease_terms import ended_path
from elastic_deploy.runtime.observe import Observer

FINISHES_WITHIN = 30.0
"""Seconds for what engines are in the middle of, when the front door sends them nothing more."""

PERIOD = 0.5
"""Seconds between looks."""

DONE, COME_BACK, UNFINISHED = 0, 3, 4


class SupervisorBackError(Exception):
    """Somebody has renewed the lease."""


class Ending:
    """One end of one lease. `renewal` is the last one; another one stops everything."""

    def __init__(self, directory: Path, renewal: tuple[int, int], logs: Path) -> None:
        self._directory = directory
        self._renewal = renewal
        self._observer = Observer(logs, lambda: True)
        self._applier = Applier(directory, lambda _: "", dict, lambda: None)

    async def run(self) -> tuple[int, int]:
        """End all of it; how many engines ran and how many groups there were.

        Raises SupervisorBackError as soon as there is a supervisor again.
        """
        first = await self._look()
        engines = sum(1 for engine in first.engines.value or () if engine.state is not EngineState.ENDED)
        groups = sum(1 for group in first.groups.value or () if group.state is not GroupState.REMOVED)
        self._require_nobody()
        self._applier.carry_out((RequestResources(()),), ClusterSpec())
        self._close_door()
        finished = time.monotonic() + (FINISHES_WITHIN if engines else 0.0)
        while time.monotonic() < finished:
            self._require_nobody()
            await asyncio.sleep(PERIOD)
        memory = Memory()
        while True:
            snapshot = await self._look()
            self._require_nobody()
            decision = decide(ClusterSpec(), snapshot, memory, time.time())
            memory = decision.memory
            known = snapshot.engines.known and snapshot.groups.known and not snapshot.action_failures
            if known and not memory.deployments and not decision.actions and not self._applier.busy:
                return engines, groups
            self._applier.carry_out(tuple(a for a in decision.actions if not isinstance(a, Route)), ClusterSpec())
            await asyncio.sleep(PERIOD)

    async def _look(self) -> Snapshot:
        return await self._observer.look((), self._applier.take_failures(), ())

    def _require_nobody(self) -> None:
        with suppress(FileNotFoundError):  # nothing is leased: then somebody said so
            if renewal_of(self._directory) == self._renewal:
                return
        raise SupervisorBackError

    def _close_door(self) -> None:
        """Have the front door send nothing more to engines that are about to end. It says why, and knows the names."""
        path = self._directory / "routes.json"
        with suppress(OSError, UnicodeDecodeError, BrokenTableError):
            table = load_table(path.read_text("utf-8"))
            why = "nobody supervises its cluster any more, so its GPUs were released"
            closed = tuple(replace(entry, backends=(), reason=why) for entry in table.entries)
            write_private(path, dump_table(RoutingTable(closed)))


def main() -> int:
    """End the lease; 0 when nothing is left of it."""
    directory, session = Path(sys.argv[1]), sys.argv[2]
    seen, inode = sys.argv[3].split(",")
    # As the agent does: Ray knows its head's address here, and would rewrite that of a local one.
    ray.init("auto", namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    if ray_tables.session_name() != session:
        return DONE  # another cluster at the same address
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    try:
        engines, groups = asyncio.run(Ending(directory, (int(seen), int(inode)), logs).run())
    except SupervisorBackError:
        return COME_BACK
    write_private(
        ended_path(directory),
        f"The lease on the GPUs ended while no supervisor ran: the request to the autoscaler was cleared, and"
        f" {engines} running engines and {groups} placement groups were ended.\n",
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main())
