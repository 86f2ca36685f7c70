"""The supervisor as a Ray actor: detached, on the head, restarted by Ray for ever. Called by the agent's `ensure`."""

import asyncio
import logging
import threading
from pathlib import Path

import ray

from elastic_deploy.model.names import NAMESPACE, SUPERVISOR
from elastic_deploy.runtime import ray_tables
from elastic_deploy.runtime.head_dir import head_dir
from elastic_deploy.runtime.server import Server
from elastic_deploy.runtime.supervisor import Supervisor

HEAD = "node:__internal_head__"
"""The resource that Ray gives to the head alone."""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class SupervisorActor:
    """Runs the supervisor's event loop in a thread of its own; Ray's own thread stays free to answer `pid`."""

    def __init__(self) -> None:
        threading.Thread(target=_run, name="supervisor", daemon=True).start()

    def pid(self) -> int:
        """The process that runs it."""
        import os

        return os.getpid()


def _run() -> None:
    directory = head_dir()
    handler = logging.FileHandler(directory / "supervisor.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("elastic_deploy")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        asyncio.run(_main(directory))
    except BaseException:
        logging.getLogger(__name__).exception("the supervisor ended")
        raise
    finally:
        # A supervisor without its loop is none: Ray starts another.
        import os

        os._exit(1)


async def _main(directory: Path) -> None:
    node = ray._private.worker.global_worker.node
    supervisor = Supervisor(
        directory,
        ray.get_runtime_context().gcs_address,
        ray_tables.session_name(),
        Path(node.get_logs_dir_path()),
        ray.util.get_node_ip_address(),
    )
    server = Server(supervisor, directory)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run())
        tasks.create_task(server.serve())


def ensure() -> bool:
    """Start the supervisor if none runs; whether it was started. Ray has to be connected."""
    try:
        ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
    except ValueError:
        SupervisorActor.options(  # type: ignore[attr-defined]
            name=SUPERVISOR, namespace=NAMESPACE, lifetime="detached", resources={HEAD: 0.001}, get_if_exists=True
        ).remote()
        return True
    return False
