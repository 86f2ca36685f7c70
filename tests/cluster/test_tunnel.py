"""The tunnel's command line, and what is said where it cannot be opened."""

import socket
import subprocess

import pytest

from elastic_deploy.cluster import tunnel
from elastic_deploy.cluster.tunnel import Way, tunnel_command
from elastic_deploy.model.errors import RefusedError, UsageError

SHELLS = [
    "ssh -o IdentitiesOnly=yes -i /home/me/key.pem ubuntu@10.0.0.7",
    "ssh -tt -o IdentitiesOnly=yes -i /home/me/key.pem ubuntu@10.0.0.7 docker exec -it ray /bin/bash ",
    "ssh -tt -oIdentitiesOnly=yes -i/home/me/key.pem -p 2222 ubuntu@10.0.0.7",
]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_forwards_the_port_and_runs_nothing(shell: str) -> None:
    command = tunnel_command(Way(shell, 9000, "10.0.0.7", 8000))
    assert command[0] == "ssh"
    assert "-N" in command
    assert command[command.index("-L") + 1] == "127.0.0.1:9000:10.0.0.7:8000"
    assert command[-1] == "ubuntu@10.0.0.7"
    assert "ExitOnForwardFailure=yes" in command
    assert "ServerAliveInterval=5" in command
    assert not {"docker", "-tt", "-t"} & set(command)


def test_an_ipv6_gateway_stands_in_brackets() -> None:
    command = tunnel_command(Way(SHELLS[0], 9000, "fd00::7", 8000))
    assert "127.0.0.1:9000:[fd00::7]:8000" in command


def test_a_shell_that_is_no_ssh_is_refused() -> None:
    with pytest.raises(ValueError, match="not an SSH command"):
        tunnel_command(Way("kubectl exec -it head -- bash", 9000, "10.0.0.7", 8000))


def test_a_port_that_is_taken_is_a_usage_error_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_args, **_more: pytest.fail("something was started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} .* --port"):
            tunnel.hold(Way(SHELLS[0], port, "10.0.0.7", 8000), lambda: None, lambda _line: None)


def test_a_first_connection_that_fails_is_said_in_the_words_of_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(
        tunnel,
        "tunnel_command",
        lambda _way: ["sh", "-c", "echo 'me@head: Permission denied (publickey).' >&2; exit 255"],
    )
    with pytest.raises(RefusedError, match=r"me@head: Permission denied \(publickey\)"):
        tunnel.hold(Way("", port, "", 1), lambda: pytest.fail("it was said to stand"), lambda _line: None)
