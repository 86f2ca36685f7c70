"""How a test and its lab's daemon talk: one JSON line asks, one answers, on a Unix socket in the lab's directory."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

Actions = Mapping[str, Callable[..., object]]


class LabError(Exception):
    """The lab did not do what it was asked; the message says why."""


def serve(path: Path, actions: Actions) -> None:
    """Answer on the socket in threads of their own from now on. Only root can open it: the lab's directory is 0700."""

    class Question(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = json.loads(self.rfile.readline())
            try:
                answer: object = {"answer": actions[asked["action"]](**asked["arguments"])}
            except Exception as error:  # noqa: BLE001  the asker hears of it, and the daemon goes on
                answer = {"error": f"{type(error).__name__}: {error}"}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    # Made under another name first: whoever finds the socket finds it listening.
    new = path.with_suffix(".new")
    server = socketserver.ThreadingUnixStreamServer(str(new), Question)
    server.daemon_threads = True
    new.rename(path)
    threading.Thread(target=server.serve_forever, name="control", daemon=True).start()


def ask(path: Path, action: str, limit: float = 30.0, **arguments: object) -> object:
    """The daemon's answer, within `limit` seconds. LabError when it refuses or is not there."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limit)
            connection.connect(str(path))
            connection.sendall(json.dumps({"action": action, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except OSError as error:
        raise LabError(f"The lab's daemon does not answer at {path}: {error}") from error
    if not line:
        raise LabError(f"The lab's daemon ended while it was asked for {action!r}.")
    answer = json.loads(line)
    if "error" in answer:
        raise LabError(f"{action}: {answer['error']}")
    return answer["answer"]
