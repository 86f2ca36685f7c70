"""The supervisor's side of the agent protocol: a unix socket that only this user can open.

One request a connection: a JSON line in, JSON lines out, each `{"ok": ...}` or `{"error": {"code", "message"}}`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elastic_deploy.model.errors import ExitCode, UsageError, UserError
from elastic_deploy.model.shape import Shape
from elastic_deploy.model.spec import Canary, DeploymentSpec, OnFailure
from elastic_deploy.runtime.engine_logs import EngineLogs
from elastic_deploy.runtime.socket_path import open_socket_path
from elastic_deploy.runtime.supervisor import Supervisor

log = logging.getLogger(__name__)

LONGEST_REQUEST = 1 << 20
"""Bytes of one request at the most."""

_CANARY = TypeAdapter(Canary)


def wish_of(payload: dict[str, Any]) -> DeploymentSpec:
    """The spec that a payload of `apply` asks for."""
    try:
        wish = payload["deployment"]
        shape = Shape(int(wish["tensor_parallel"]), int(wish["pipeline_parallel"]), int(wish["replicas"]))
        spec = DeploymentSpec(wish["name"], wish["model"], wish["served_model_name"], shape)
        return replace(
            spec,
            engine_arguments=tuple(wish.get("engine_arguments", ())),
            wait_timeout=wish["wait_timeout"],
            engine_start_timeout=wish.get("engine_start_timeout", spec.engine_start_timeout),
            canary=_CANARY.validate_python(wish.get("canary") or {}),
            max_engine_failures=int(wish.get("max_engine_failures", spec.max_engine_failures)),
            on_failure=OnFailure(wish.get("on_failure", spec.on_failure)),
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise UsageError(f"The supervisor cannot read this deployment: {error!r}.") from error


class Server:
    """Answers the agent."""

    def __init__(self, supervisor: Supervisor, directory: Path) -> None:
        self._supervisor = supervisor
        self._directory = directory
        self._logs = EngineLogs()

    async def serve(self) -> None:
        """Listen for ever."""
        with open_socket_path(self._directory) as path:
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._connection, path, limit=LONGEST_REQUEST)
            path.chmod(0o600)
            async with server:
                await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.create_task(self._answer(reader, writer))
        with suppress(ConnectionError, asyncio.CancelledError):
            await gone
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: dict[str, Any]) -> None:
            writer.write(json.dumps(line).encode() + b"\n")
            await writer.drain()

        try:
            request = json.loads(await reader.readline())
            async for item in self._answers(request["verb"], request.get("payload") or {}):
                await say({"ok": item})
        except UserError as error:
            await say({"error": {"code": int(error.code), "message": error.message}})
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("a request failed")
            message = f"The supervisor met a bug ({type(error).__name__}: {error}); its log is on the head."
            await say({"error": {"code": int(ExitCode.INTERNAL), "message": message}})

    async def _answers(self, verb: str, payload: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        supervisor = self._supervisor
        match verb:
            case "hello":
                yield supervisor.hello(payload.get("cluster", ""), payload.get("provider", ""))
            case "compare":
                yield supervisor.compare(wish_of(payload))
            case "apply":
                yield await supervisor.apply(wish_of(payload), int(payload["port"]))
            case "stop":
                yield await supervisor.stop(payload.get("deployment"))
            case "status":
                yield supervisor.status()
            case "events":
                async for event in supervisor.events(payload.get("after"), follow=bool(payload.get("follow"))):
                    yield event
            case "logs":
                engines = supervisor.engines(payload.get("deployment"), payload.get("replica"))
                lines, follow = int(payload.get("lines", 200)), bool(payload.get("follow"))
                async for line in self._logs.read(engines, lines, follow=follow):
                    yield line
            case _:
                raise UsageError(f"The supervisor does not know {verb!r}.")
