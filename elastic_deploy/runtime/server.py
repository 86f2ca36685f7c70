"""The supervisor's side of the agent protocol: a unix socket that only this user can open.

One request a connection: a JSON line in, JSON lines out, each `{"ok": ...}` or `{"error": {"code", "message"}}`.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from elastic_deploy.model.errors import ExitCode, UsageError, UserError
from elastic_deploy.model.front_door import FrontDoorWish
from elastic_deploy.model.names import EngineName
from elastic_deploy.model.spec import DeploymentSpec
from elastic_deploy.runtime.engine_logs import EngineLogs
from elastic_deploy.runtime.journal import Event
from elastic_deploy.runtime.payload import wish_of
from elastic_deploy.runtime.socket_path import open_socket_path

log = logging.getLogger(__name__)

LONGEST_REQUEST = 1 << 20
"""Bytes of one request at the most."""

REQUEST_WITHIN = 30.0
"""Seconds from a connection to its request; the agent sends it at once."""


class Supervising(Protocol):
    """What is asked of the supervisor. The methods say it there; here it is only who answers which verb."""

    def hello(self, cluster: str, provider: str) -> dict[str, Any]: ...
    def compare(self, wish: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]: ...
    async def apply(self, wish: DeploymentSpec, door: FrontDoorWish) -> dict[str, Any]: ...
    async def keys(self, request: dict[str, Any]) -> dict[str, Any]: ...
    async def stop(self, name: str | None) -> dict[str, Any]: ...
    def status(self) -> dict[str, Any]: ...
    def engines(self, deployment: str | None, replica: str | None) -> list[tuple[EngineName, str]]: ...
    def events(self, after: str | None, *, follow: bool) -> AsyncIterator[Event]: ...


class Server:
    """Answers the agent."""

    def __init__(self, supervisor: Supervising, directory: Path) -> None:
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
        try:
            with suppress(ConnectionError):  # whoever asked has gone
                await self._converse(reader, writer)
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until all is said or whoever asked has gone: else each that listened would be told for ever."""
        try:
            verb, payload = await _request(reader)
        except UsageError as error:
            await _say(writer, _error(error.code, error.message))
            return
        answering = asyncio.create_task(self._answer(verb, payload, writer))
        leaving = asyncio.create_task(_end_of(reader))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, verb: str, payload: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            async with aclosing(self._answers(verb, payload)) as answers:
                async for answer in answers:
                    await _say(writer, {"ok": answer})
        except UserError as error:
            await _say(writer, _error(error.code, error.message))
        except ConnectionError:
            raise
        except Exception as error:
            log.exception("a request failed")
            message = f"The supervisor met a bug ({type(error).__name__}: {error}); its log is on the head."
            await _say(writer, _error(ExitCode.INTERNAL, message))

    async def _answers(self, verb: str, payload: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        supervisor = self._supervisor
        match verb:
            case "hello":
                yield supervisor.hello(payload.get("cluster", ""), payload.get("provider", ""))
            case "compare":
                yield supervisor.compare(*wish_of(payload))
            case "apply":
                yield await supervisor.apply(*wish_of(payload))
            case "keys":
                yield await supervisor.keys(payload)
            case "stop":
                yield await supervisor.stop(payload.get("deployment"))
            case "status":
                yield supervisor.status()
            case "events":
                async for event in supervisor.events(payload.get("after"), follow=bool(payload.get("follow"))):
                    yield event
            case "logs":
                lines, follow = int(payload.get("lines", 200)), bool(payload.get("follow"))
                chosen = partial(supervisor.engines, payload.get("deployment"), payload.get("replica"))
                async for line in self._logs.read(chosen, lines, follow=follow):
                    yield line
            case _:
                raise UsageError(f"The supervisor does not know {verb!r}: it may be older or newer than this command.")


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    """The verb and the payload that a connection begins with. Raises UsageError where it is none."""
    try:
        async with asyncio.timeout(REQUEST_WITHIN):
            request = json.loads(await reader.readline())
        return str(request["verb"]), dict(request.get("payload") or {})
    except TimeoutError as error:
        raise UsageError(f"The supervisor was asked nothing within {REQUEST_WITHIN:g} s.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"The supervisor cannot read this request ({error!r}): it is one JSON line of at most "
            f"{LONGEST_REQUEST} bytes, with a verb and its payload."
        ) from error


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Wait until whoever asked closes its side, which it keeps open for as long as it listens."""
    while await reader.read(LONGEST_REQUEST):
        pass


async def _say(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()


def _error(code: ExitCode, message: str) -> dict[str, Any]:
    return {"error": {"code": int(code), "message": message}}
