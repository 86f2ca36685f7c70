"""The TCP ports of the cluster's processes on a node, and what a stranger gets at them.

A stranger has neither Ray's token nor a key. It speaks HTTP, and gRPC with calls that change nothing; whatever is
neither is reported as such, not guessed.
"""

import os
import socket
from collections.abc import Iterable

import psutil

from elastic_deploy.runtime.node_checks.facts import Answer, Listener

LIMIT = 3.0
"""Seconds for one answer to a stranger."""

_CALLS = (
    "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "/ray.rpc.NodeManagerService/GetSystemConfig",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ReporterService/HealthCheck",
    "/ray.rpc.RayletDriver/ClusterInfo",
)
"""One reading call of each of Ray's gRPC services. A server without the service says UNIMPLEMENTED, to anybody."""
_REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: stranger\r\nConnection: close\r\n\r\n"
_REFUSING = (401, 403)
_LONGEST_HEAD = 16384
_METRICS = (b"content-type: text/plain; version=", b"content-type: application/openmetrics-text")
"""How a Prometheus exporter answers, whatever path it is asked for."""
_OURS = ("elastic_deploy.gateway", "elastic_deploy.runtime")


def listeners(marks: Iterable[str]) -> tuple[Listener, ...]:
    """The listening ports, loopback left out, of processes whose command line, or that of a process above them, has
    one of the `marks`. This process is left out. What belongs to another user cannot be seen without root's rights.
    """
    marks = tuple(marks)
    found: set[Listener] = set()
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.pid in (None, os.getpid()):
            continue
        if _is_loopback(connection.laddr.ip):
            continue
        if name := _name_if_ours(connection.pid, marks):
            found.add(Listener(connection.laddr.ip, connection.laddr.port, name))
    return tuple(sorted(found, key=lambda each: each.port))


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"


def _name_if_ours(pid: int, marks: tuple[str, ...]) -> str:
    try:
        process = psutil.Process(pid)
        family = [process, *process.parents()]
        commands = [" ".join(one.cmdline()) for one in family]
        if any(mark in command for command in commands for mark in (*marks, *_OURS)):
            return _title(process)
    except psutil.Error:
        pass
    return ""


def _title(process: psutil.Process) -> str:
    """A short name: a program's, or a Python module's or script's. Arguments may hold what is not for everybody."""
    words = process.cmdline()
    if not words or not os.path.basename(words[0]).startswith("python"):  # noqa: PTH119 (a title, not a path)
        return os.path.basename(words[0].split()[0]) if words and words[0] else process.name()  # noqa: PTH119
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return next((os.path.basename(word) for word in words[1:] if word.endswith(".py")), process.name())  # noqa: PTH119


def knock(host: str, port: int) -> tuple[Answer, str]:
    """What a stranger gets at a port, within some seconds."""
    try:
        with socket.create_connection((host, port), LIMIT) as connection:
            connection.settimeout(LIMIT)
            connection.sendall(_REQUEST)
            first = _head(connection)
    except TimeoutError:
        first = b""
    except ConnectionRefusedError as error:
        return Answer.UNREACHED, error.strerror or "refused"
    except OSError:
        first = b""
    if first.startswith(b"HTTP/1"):
        return _judge_http(first)
    return _knock_grpc(f"{host}:{port}")


def _head(connection: socket.socket) -> bytes:
    """The first bytes of an answer: of HTTP its whole head, which may come in several pieces."""
    first = b""
    while len(first) < _LONGEST_HEAD and b"\r\n\r\n" not in first:
        piece = connection.recv(4096)
        first += piece
        if not piece or not first.startswith(b"HTTP/1"):
            break
    return first


def _judge_http(first: bytes) -> tuple[Answer, str]:
    words = first.split()
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if status == 200 and any(kind in first.lower() for kind in _METRICS):
        return Answer.METRICS, "metrics"
    return (Answer.REFUSED if status in _REFUSING else Answer.OPEN), f"HTTP {status}"


def _knock_grpc(target: str) -> tuple[Answer, str]:
    try:
        import grpc  # type: ignore[import-untyped]
    except ImportError:
        return Answer.UNSPOKEN, "no HTTP, and gRPC is not installed on the node that asked"
    last = ""
    # Not ray's client: that would show the token.
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        for method in _CALLS:
            try:
                channel.unary_unary(method)(b"", timeout=LIMIT)
            except grpc.RpcError as error:
                last = error.code().name
                if last in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
                    return Answer.REFUSED, f"gRPC {last}"
                if last in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    return Answer.UNSPOKEN, "neither HTTP nor gRPC"
                if last != "UNIMPLEMENTED":
                    return Answer.OPEN, f"gRPC {method} {last}"
            else:
                return Answer.OPEN, f"gRPC {method}"
    return Answer.UNSPOKEN, f"gRPC {last}, of no service that is known here"
