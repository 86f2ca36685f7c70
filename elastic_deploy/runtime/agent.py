"""The agent: what the CLI runs on the head, `python -m elastic_deploy.runtime.agent VERB`, JSON in and JSON out.

It passes one request to the supervisor's socket and its answer back; only `ensure` and `doctor` import Ray. So no
administrative port is opened: whoever may run a command on the head as its user may administer the cluster, and nobody
else.
"""

import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from elastic_deploy.model.errors import ExitCode, RefusedError, UserError
from elastic_deploy.runtime.head_dir import head_dir
from elastic_deploy.runtime.lease_terms import ends_in
from elastic_deploy.runtime.socket_path import open_socket_path

ANSWERS_WITHIN = 20.0
"""Seconds for a supervisor to come back up: Ray starts a process, which imports. Less than `cluster.head` waits for an
answer, so that it is the sentence from here that people see."""

STARTS_WITHIN = 60.0
"""Seconds for a supervisor that `ensure` has asked Ray for: the first one on a head that is still busy starting."""

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
            if patience <= ANSWERS_WITHIN and not (directory / "journal.jsonl").exists():
                # Its first act is to open the journal: there has never been one here, and none is on its way.
                raise RefusedError("No supervisor runs on the head: `elastic-deploy up` starts it.") from error
            if time.monotonic() >= deadline:
                log = directory / "supervisor.log"
                raise RefusedError(
                    f"The supervisor on the head does not answer ({error.strerror}): run `elastic-deploy up` again, "
                    f"or see {log} on the head.{ends_in(directory, time.time())}"
                ) from error
            time.sleep(RETRY)
        else:
            return connection


def ask(
    verb: str, payload: dict[str, Any], patience: float = ANSWERS_WITHIN, asker: int | None = None
) -> Iterator[dict[str, Any]]:
    """The supervisor's answer, line by line, for as long as anybody is at `asker`, a descriptor, to hear it.

    Raises RefusedError where no supervisor is there after `patience` seconds, or the one that answers ends.
    """
    with _connect(head_dir(), patience) as connection:
        with suppress(BrokenPipeError):  # it was refused before it was read to its end: the answer says why
            connection.sendall(json.dumps({"verb": verb, "payload": payload}).encode() + b"\n")
        for line in _lines(connection, asker):
            yield json.loads(line)


def _lines(connection: socket.socket, asker: int | None) -> Iterator[bytes]:
    watch = select.poll()
    watch.register(connection, select.POLLIN)
    if asker is not None:
        watch.register(asker, 0)  # no event but its end, which is always told
    pending = b""
    while True:
        ready = dict(watch.poll())
        if asker in ready:
            raise BrokenPipeError
        try:
            chunk = connection.recv(1 << 20)
        except ConnectionResetError:
            raise RefusedError("The supervisor ended before it had answered; Ray starts it again: try again.") from None
        if not chunk:
            return
        *whole, pending = (pending + chunk).split(b"\n")
        yield from whole


def _ensure(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if payload.pop("brought", False):
        yield from _start(payload, renew=True)
        return
    try:
        # Most often one runs, and Ray need not be imported, which takes seconds.
        lines = list(ask("hello", payload, patience=0.0))
    except RefusedError:
        yield from _start(payload)
    else:
        yield from ({"ok": {**line["ok"], "started": False}} if "ok" in line else line for line in lines)


def _start(payload: dict[str, Any], *, renew: bool = False) -> Iterator[dict[str, Any]]:
    """Start the supervisor. `renew`: the autoscaler first, so that it sets new nodes up as the YAML has it now."""
    import ray

    from elastic_deploy.model.names import NAMESPACE
    from elastic_deploy.runtime.monitor import renew_monitor
    from elastic_deploy.runtime.supervisor_actor import ensure

    ray.init("auto", namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    if renew:
        renew_monitor(ray.get_runtime_context().gcs_address)
    started = ensure()
    for line in ask("hello", payload, STARTS_WITHIN):
        yield {"ok": {**line["ok"], "started": started}} if "ok" in line else line
    ray.shutdown()


def _doctor() -> Iterator[dict[str, Any]]:
    from dataclasses import asdict

    import ray

    from elastic_deploy.model.names import NAMESPACE
    from elastic_deploy.runtime.node_checks.gather import gather
    from elastic_deploy.runtime.node_checks.judge import judge

    # Asked of Ray and not of the supervisor: a cluster whose supervisor is down needs its doctor most.
    ray.init("auto", namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    try:
        yield {"ok": {"checks": [asdict(check) for check in judge(gather())]}}
    finally:
        ray.shutdown()


def _answer(verb: str, payload: dict[str, Any], asker: int) -> Iterator[dict[str, Any]]:
    match verb:
        case "ensure":
            return _ensure(payload)
        case "doctor":
            return _doctor()
        case _:
            return ask(verb, payload, asker=asker)


def main() -> None:
    """Answer one request; every failure is a line that says what it was."""
    verb = sys.argv[1] if len(sys.argv) == 2 else ""
    # Ray prints to stdout what it likes; only answers may stand there.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        payload = json.loads(sys.stdin.read() or "{}")
        for line in _answer(verb, payload, answers.fileno()):
            print(json.dumps(line), file=answers, flush=True)
    except UserError as error:
        print(json.dumps({"error": {"code": int(error.code), "message": error.message}}), file=answers, flush=True)
    except BrokenPipeError:
        # Nobody listens any more; what is still buffered must not be tried again at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    except Exception as error:
        print(json.dumps({"error": {"code": int(ExitCode.INTERNAL), "message": repr(error)}}), file=answers, flush=True)
        raise


if __name__ == "__main__":
    main()
