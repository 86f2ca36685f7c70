"""The gateway's settings: its bounds, and the command line that sets them.

Every wait and every size has a bound. Those that depend on the deployment are flags; the rest are constants beside
the code that they bound.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elastic_deploy.model.duration import format_duration, parse_duration

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """How much may wait while a model has no backend: `seconds` for one request, the rest for all together.

    0 seconds holds nothing: such requests are refused at once. By default as long as OpenAI's own client waits for an
    answer: a node's replacement and an engine's start take minutes on a cloud. A stream that waits is told so every
    `comment` seconds; with the first of these its status, 200, is out, and what goes wrong later is told as an event.
    5 s lets short waits end with a status of their own, and is well under the minute after which proxies give up on a
    silent answer.
    """

    seconds: float = 600.0
    requests: int = 256
    size: int = 64 * MEBIBYTE
    comment: float = 5.0


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How long an engine may take: `connect` to accept a connection, `silence` between two bytes; seconds.

    600 s of silence is how long OpenAI's own client waits by default; a shorter answer would have been given up by
    the gateway, a longer one by the client.
    """

    connect: float = 5.0
    silence: float = 600.0


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client may send, and how slowly; sizes in bytes, times in seconds.

    `body_time` is for a whole body to come in, `idle` for the next request to begin, `headers` for its headers to come
    in from then on (of a connection's first request, from the connection on), `stall` for one piece of an answer to be
    taken. `connections` may be open at once: 4096 are a thousand streams and their clients' idle ones, with room to
    spare, and cost 36 MiB while nothing is asked (measured: 9 KiB each, without TLS).
    """

    body: int = 32 * MEBIBYTE
    body_time: float = 60.0
    idle: float = 75.0
    headers: float = 20.0
    connections: int = 4096
    stall: float = 60.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificate (with its chain) and key are, in PEM."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them. Port 0 takes a free one; `drain` is how long a stopping gateway finishes what it streams.

    Without `tls` the door speaks HTTP, with it HTTPS and nothing else.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 8000
    drain: float = 30.0
    hold: HoldLimits = field(default_factory=HoldLimits)
    engine: EngineLimits = field(default_factory=EngineLimits)
    client: ClientLimits = field(default_factory=ClientLimits)
    tls: TlsFiles | None = None


def _duration(text: str) -> float:
    if text == "0":
        return 0.0
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no end")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if not (count := _count(text)):
        raise argparse.ArgumentTypeError("0 would serve nobody")
    return count


def _port(text: str) -> int:
    port = _count(text)
    if port > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: ports end at 65535")
    return port


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """The settings that a command line asks for. Ends the process with status 2 and a sentence if it is wrong."""
    hold, engine, client = HoldLimits(), EngineLimits(), ClientLimits()
    parser = argparse.ArgumentParser("python -m elastic_deploy.gateway", description="The front door of a cluster.")

    def duration(flag: str, default: float, says: str) -> None:
        parser.add_argument(flag, type=_duration, default=default, help=f"{says} (default: {format_duration(default)})")

    parser.add_argument("--dir", type=Path, required=True, help="where routes.json, keys/ and gateway.json are")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8000, help="the port; 0 takes a free one (default: 8000)")
    duration("--drain-timeout", 30.0, "how long a stopping gateway finishes what it streams")
    duration("--hold-timeout", hold.seconds, "how long a request waits for an engine; 0 refuses it at once")
    parser.add_argument("--hold-requests", type=_count, default=hold.requests, help="how many may wait (256)")
    parser.add_argument("--hold-bytes", type=_count, default=hold.size, help="bytes of bodies that may wait (64 MiB)")
    duration("--engine-connect-timeout", engine.connect, "how long an engine may take to accept a connection")
    duration("--engine-silence-timeout", engine.silence, "how long an engine may send nothing")
    parser.add_argument("--max-body-bytes", type=_count, default=client.body, help="the largest request (32 MiB)")
    duration("--client-stall-timeout", client.stall, "how long a client may take nothing of its answer")
    duration("--client-headers-timeout", client.headers, "how long a request's headers may take to come in")
    duration("--client-body-timeout", client.body_time, "how long a request's body may take to come in")
    duration("--client-idle-timeout", client.idle, "how long a connection may be idle between two requests")
    connections = f"connections that may be open at once ({client.connections})"
    parser.add_argument("--max-connections", type=_positive, default=client.connections, help=connections)
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="a certificate with its chain, PEM: speak HTTPS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key, PEM, not encrypted")
    given = parser.parse_args(arguments)
    if (given.tls_cert is None) != (given.tls_key is None):
        parser.error("--tls-cert and --tls-key go together: give both or none")
    return Settings(
        directory=given.dir,
        host=given.host,
        port=given.port,
        drain=given.drain_timeout,
        hold=HoldLimits(given.hold_timeout, given.hold_requests, given.hold_bytes),
        engine=EngineLimits(given.engine_connect_timeout, given.engine_silence_timeout),
        client=ClientLimits(
            body=given.max_body_bytes,
            body_time=given.client_body_timeout,
            idle=given.client_idle_timeout,
            headers=given.client_headers_timeout,
            connections=given.max_connections,
            stall=given.client_stall_timeout,
        ),
        tls=TlsFiles(given.tls_cert, given.tls_key) if given.tls_cert else None,
    )
