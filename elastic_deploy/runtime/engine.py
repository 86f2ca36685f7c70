"""The engine: a detached Ray actor in bundle 0 of a whole placement group, whose main thread is vLLM's API server.

Started by `runtime.apply`. It knows its own name and its order, and nothing of the supervisor or of other engines.
vLLM takes the group that it finds itself in, so no GPU is asked for twice; its workers fill the group's bundles.
"""

import os
import runpy
import socket
import sys
import traceback
from dataclasses import dataclass, replace

import ray

from elastic_deploy.core.last_words import last_words
from elastic_deploy.model.names import EngineName
from elastic_deploy.rehearsal import REHEARSAL_VARIABLE
from elastic_deploy.rehearsal.engine_arguments import model_path, rehearsal_arguments
from elastic_deploy.runtime.engine_record import EngineRecord, put_engine
from elastic_deploy.runtime.head_dir import engine_log

TAIL = 1 << 20
"""Bytes of the log's end that are searched for the engine's last words."""

ARGPARSE_EXIT = 2
"""The status with which Python's argparse, and so vLLM, ends when it refuses its arguments."""


@dataclass(frozen=True, slots=True)
class EngineOrder:
    """All that one engine needs. `api_key` reaches vLLM through its environment, never its command line.

    `version` is the fingerprint of the spec that it was made from: the engine only tells it on.
    """

    name: EngineName
    model: str
    served_model_name: str
    tensor_parallel: int
    pipeline_parallel: int
    arguments: tuple[str, ...]
    api_key: str
    version: str


def vllm_arguments(order: EngineOrder, host: str, port: int, *, rehearsal: bool) -> list[str]:
    """vLLM's command line. What the user gave comes last, and so wins."""
    return [
        *("--model", model_path(order.model)),
        *("--served-model-name", order.served_model_name),
        *("--host", host),
        *("--port", str(port)),
        *("--tensor-parallel-size", str(order.tensor_parallel)),
        *("--pipeline-parallel-size", str(order.pipeline_parallel)),
        *("--distributed-executor-backend", "ray"),
        *(rehearsal_arguments(order.arguments) if rehearsal else ()),
        *order.arguments,
    ]


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def read_tail(path: str) -> str:
    """The end of a log, "" where there is none."""
    try:
        with open(path, "rb") as log:  # noqa: PTH123 (plain: this runs in a dying process too)
            log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class Engine:
    """One start of vLLM. It is never restarted: the next one has another generation."""

    def serve(self, order: EngineOrder) -> None:
        """Run vLLM's API server in this, the main, thread until it ends, then end this process."""
        host = ray.util.get_node_ip_address()
        log = engine_log(order.name.deployment, order.name.replica, order.name.generation)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        port = _free_port(host)
        shown = f"[{host}]" if ":" in host else host
        record = EngineRecord(f"http://{shown}:{port}", os.getpid(), str(log), order.version)
        put_engine(order.name, record)
        os.environ["VLLM_API_KEY"] = order.api_key
        rehearsal = os.environ.get(REHEARSAL_VARIABLE) == "1"
        sys.argv = ["vllm", *vllm_arguments(order, host, port, rehearsal=rehearsal)]
        status = _run_server()
        sys.stdout.flush()
        sys.stderr.flush()
        words = last_words(read_tail(str(log)))
        refused = status == ARGPARSE_EXIT
        put_engine(order.name, replace(record, ended=True, refused_arguments=refused, last_words=words))
        ray.actor.exit_actor()


def _run_server() -> int:
    """vLLM's server, to its end; its exit status. An exception of it is written to its log."""
    try:
        # The module's path has moved between versions of vLLM; this one works in 0.32 and in older ones.
        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    except BaseException:  # noqa: BLE001 (whatever ended the server ends this engine, and its log must say what)
        traceback.print_exc()
        return 1
    return 0
