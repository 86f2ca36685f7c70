"""From the command that opens a shell on a remote head to one that runs a program there and keeps its pipes clean.

Called by `cluster.head`. Ray's command runners know how to reach a node (key, user, address, container), but hand out
a command for a person at a terminal. Pure: runs nothing.
"""

import shlex

_SSH_OPTIONS = {
    "BatchMode": "yes",  # a question would wait for ever: nobody sees it
    "ConnectTimeout": "10",
    # A host that has gone is noticed after 15 s, as Ray's own connections do (`command_runner.py`, SSHOptions).
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    # Cloud addresses go from one instance to the next; Ray connects the same way.
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "LogLevel": "ERROR",
}
_TERMINAL_FLAGS = ("-t", "-tt", "-it", "-ti")
"""Flags that ask for a terminal, of ssh and of `docker exec`: a terminal would rewrite what goes through it."""


def remote_command(shell: str, command: str) -> list[str]:
    """The arguments that run `command` where `shell` opens a shell, e.g. `ssh -i KEY ubuntu@10.0.0.1`, or the same
    with `docker exec -it NAME /bin/bash` at its end.

    Standard input and output are passed on unchanged. Raises ValueError where `shell` is no SSH command.
    """
    program, *rest = shlex.split(shell)
    if program != "ssh":
        raise ValueError(f"not an SSH command: {shell!r}")
    options = [part for name, value in _SSH_OPTIONS.items() for part in ("-o", f"{name}={value}")]
    words = [word for word in rest if word not in _TERMINAL_FLAGS]
    login = f"bash --login -c {shlex.quote(command)}"
    if "exec" not in words:
        return ["ssh", "-T", *options, *words, login]
    place = words.index("exec")
    words.insert(place + 1, "-i")
    # What follows the host is one line for the host's shell, so the command inside is quoted once more.
    return ["ssh", "-T", *options, *words[:-1], login]
