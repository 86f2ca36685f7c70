"""The agent: what the CLI runs on the head, `python -m elastic_deploy.runtime.agent VERB`, JSON in and JSON out.

It passes one request to the supervisor's socket and its answer back; only `ensure` imports Ray. So no administrative
port is opened: whoever may run a command on the head as its user may administer the cluster, and nobody else.
"""

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elastic_deploy.model.errors import ExitCode, RefusedError, UserError
from elastic_deploy.runtime.head_dir import head_dir
from elastic_deploy.runtime.socket_path import open_socket_path

ANSWERS_WITHIN = 60.0
"""Seconds for a supervisor to come (back) up: Ray starts a process and imports; a few seconds on an idle head."""

RETRY = 0.2


def _connect(directory: Path, patience: float) -> socket.socket:
    deadline = time.monotonic() + patience
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            with open_socket_path(directory) as path:
                connection.connect(str(path))
        except OSError as error:
            connection.close()
            if time.monotonic() >= deadline:
                log = directory / "supervisor.log"
                raise RefusedError(
                    f"The supervisor on the head does not answer ({error.strerror}): run `elastic-deploy up` again, "
                    f"or see {log} on the head."
                ) from error
            time.sleep(RETRY)
        else:
            return connection


def ask(verb: str, payload: dict[str, Any], patience: float = ANSWERS_WITHIN) -> Iterator[dict[str, Any]]:
    """The supervisor's answer, line by line."""
    with _connect(head_dir(), patience) as connection:
        connection.sendall(json.dumps({"verb": verb, "payload": payload}).encode() + b"\n")
        with connection.makefile() as lines:
            for line in lines:
                yield json.loads(line)


def _ensure(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import ray

    from elastic_deploy.model.names import NAMESPACE
    from elastic_deploy.runtime.supervisor_actor import ensure

    ray.init("auto", namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    started = ensure()
    for line in ask("hello", payload):
        yield {"ok": {**line["ok"], "started": started}} if "ok" in line else line
    ray.shutdown()


def main() -> None:
    """Answer one request; every failure is a line that says what it was."""
    verb = sys.argv[1] if len(sys.argv) == 2 else ""
    # Ray prints to stdout what it likes; only answers may stand there.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        payload = json.loads(sys.stdin.read() or "{}")
        for line in _ensure(payload) if verb == "ensure" else ask(verb, payload):
            print(json.dumps(line), file=answers, flush=True)
    except UserError as error:
        print(json.dumps({"error": {"code": int(error.code), "message": error.message}}), file=answers, flush=True)
    except BrokenPipeError:
        sys.exit(0)  # nobody listens any more
    except Exception as error:
        print(json.dumps({"error": {"code": int(ExitCode.INTERNAL), "message": repr(error)}}), file=answers, flush=True)
        raise


if __name__ == "__main__":
    main()
