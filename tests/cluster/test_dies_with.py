"""A child that dies with its parent, whichever way that goes; and the tunnel's SSH, which is one."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elastic_deploy.cluster.dies_with import dying_with_us

LIMIT_S = 10.0

PARENT = """
import sys
from pathlib import Path
from elastic_deploy.cluster import tunnel

Path(sys.argv[1]).write_text("")
tunnel.tunnel_command = lambda _way: ["ssh-stand-in", sys.argv[1], sys.argv[2]]
tunnel.hold(tunnel.Way("ssh me@head", int(sys.argv[2]), "h", 1), lambda: print("stands", flush=True), print)
"""
SSH = """#!{python}
import os, socket, sys, time
from pathlib import Path
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[2])))
Path(sys.argv[1]).write_text(str(os.getpid()))
listener.listen()
time.sleep(60)
"""


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gone(pid: int) -> bool:
    """Whether the process ends within the limit; one that nobody has waited for yet has ended too."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a child with its parent")
def test_the_ssh_of_a_tunnel_that_is_killed_ends(tmp_path: Path, unused_port: int) -> None:
    ssh = tmp_path / "ssh-stand-in"
    ssh.write_text(SSH.format(python=sys.executable))
    ssh.chmod(0o755)
    written = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(written), str(unused_port)],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "stands\n"
            child = int(written.read_text())
        finally:
            parent.kill()
    assert gone(child)


def test_the_command_gets_its_words_and_gives_its_status() -> None:
    script = 'echo "$1"; exit 7'
    done = subprocess.run(
        dying_with_us(["sh", "-c", script, "sh", "a  b"]), capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (done.stdout, done.returncode) == ("a  b\n", 7)


def test_a_program_that_is_not_there_is_named() -> None:
    done = subprocess.run(dying_with_us(["no-such-ssh"]), capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    assert done.stderr == "no-such-ssh cannot be run (No such file or directory). Install it.\n"


def test_a_parent_that_was_gone_before_starts_nothing() -> None:
    python, *words = dying_with_us(["echo", "ran"])
    place = words.index(str(os.getpid()))
    words[place] = "1"
    done = subprocess.run([python, *words], capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.stdout, done.returncode) == ("", 1)
