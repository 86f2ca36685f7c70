"""The agent: a request from stdin to the supervisor's socket, its answer to stdout, and nothing else there."""

import asyncio
import json
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from elastic_deploy.model.errors import ExitCode, RefusedError
from elastic_deploy.runtime import agent
from elastic_deploy.runtime.head_dir import head_dir
from elastic_deploy.runtime.socket_path import NAME

from .conversation import run, serving


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The head's directory in a home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (head_dir() / "journal.jsonl").touch()  # a supervisor has run here
    return head_dir()


async def start(verb: str, payload: str = "{}", stdout: int = PIPE) -> Process:
    """The agent as the CLI runs it."""
    command = [sys.executable, "-m", "elastic_deploy.runtime.agent", verb]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=stdout, stderr=PIPE)
    assert process.stdin is not None
    process.stdin.write(payload.encode())
    process.stdin.close()
    return process


def test_a_request_goes_in_and_its_answer_comes_out(head: Path) -> None:
    async def story() -> None:
        async with serving(head):
            out, err = await (await start("hello", '{"cluster": "lab", "provider": "local"}')).communicate()
            assert json.loads(out) == {"ok": {"session": "s1", "cluster": "lab", "provider": "local"}}
            assert err == b""

    run(story())


def test_it_starts_without_ray(head: Path) -> None:
    """`status` in a loop would cost a second of processor time each, were Ray imported."""

    async def story() -> None:
        async with serving(head):
            code = (
                "import runpy, sys; sys.argv = ['agent', 'hello']\n"
                "runpy.run_module('elastic_deploy.runtime.agent', run_name='__main__')\n"
                "heavy = {'ray', 'aiohttp', 'pydantic', 'psutil'} & set(sys.modules)\n"
                "sys.exit(f'imported {heavy}' if heavy else 0)"
            )
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=PIPE, stdout=PIPE)
            await process.communicate(b"{}")
            assert process.returncode == 0

    run(story())


def test_what_the_supervisor_refuses_comes_out_as_it_said_it(head: Path) -> None:
    async def story() -> None:
        async with serving(head):
            process = await start("stop", '{"deployment": "chat"}')
            out, _ = await process.communicate()
            assert json.loads(out)["error"] == {"code": ExitCode.NEVER_FITS, "message": "chat cannot be stopped."}
            assert process.returncode == 0

    run(story())


def test_input_that_is_no_json_is_an_error_line(head: Path) -> None:
    async def story() -> None:
        async with serving(head):
            process = await start("hello", "{")
            out, _ = await process.communicate()
            assert json.loads(out)["error"]["code"] == ExitCode.INTERNAL
            assert process.returncode == 1

    run(story())


def test_news_come_out_as_they_happen(head: Path) -> None:
    async def story() -> None:
        async with serving(head) as talker:
            process = await start("events", '{"follow": true}')
            assert process.stdout is not None
            for number in range(3):
                talker.news.append({"id": str(number)})
                assert json.loads(await process.stdout.readline()) == {"ok": {"id": str(number)}}
            process.kill()
            await process.wait()

    run(story())


def test_an_agent_whose_asker_has_gone_ends_though_nothing_happens(head: Path) -> None:
    """Over SSH nobody else would end it: its connection to the supervisor would stay for as long as all is well."""

    async def story() -> None:
        async with serving(head) as talker:
            read_end, write_end = os.pipe()
            process = await start("events", '{"follow": true}', stdout=write_end)
            os.close(write_end)
            while not talker.listeners:
                await asyncio.sleep(0.01)
            os.close(read_end)
            _, err = await process.communicate()
            assert (process.returncode, err) == (0, b"")
            assert talker.news == []

    run(story())


def test_nobody_there_is_said_with_the_mend_once_patience_is_over(head: Path) -> None:
    began = time.monotonic()
    with pytest.raises(RefusedError) as refused:
        list(agent.ask("status", {}, patience=0.5))
    assert 0.5 <= time.monotonic() - began < 5
    assert "The supervisor on the head does not answer (No such file or directory)" in refused.value.message
    assert "`elastic-deploy up`" in refused.value.message
    assert str(head / "supervisor.log") in refused.value.message


def test_where_no_supervisor_ever_ran_none_is_waited_for(head: Path) -> None:
    (head / "journal.jsonl").unlink()
    began = time.monotonic()
    with pytest.raises(RefusedError, match="No supervisor runs on the head"):
        list(agent.ask("status", {}))
    assert time.monotonic() - began < 5


def test_a_socket_that_nobody_listens_on_is_nobody_there(head: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(head / NAME))
    left.close()
    with pytest.raises(RefusedError, match="Connection refused"):
        list(agent.ask("status", {}, patience=0.1))


def test_a_supervisor_that_comes_up_late_is_waited_for(head: Path) -> None:
    async def story() -> None:
        asking = asyncio.create_task(asyncio.to_thread(lambda: list(agent.ask("hello", {}, patience=10.0))))
        await asyncio.sleep(0.5)
        assert not asking.done()
        async with serving(head):
            assert (await asking)[0]["ok"]["session"] == "s1"

    run(story())


def test_a_request_that_is_too_long_gets_the_servers_sentence(head: Path) -> None:
    async def story() -> None:
        async with serving(head):
            [answer] = await asyncio.to_thread(lambda: list(agent.ask("hello", {"cluster": "x" * 4_000_000})))
            assert answer["error"]["code"] == ExitCode.USAGE

    run(story())


def test_patience_ends_before_the_command_line_loses_its_own() -> None:
    from elastic_deploy.cluster.head import CALL_TIMEOUT_S

    assert agent.ANSWERS_WITHIN < CALL_TIMEOUT_S
