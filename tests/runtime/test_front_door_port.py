"""A port of the head that somebody else has is refused in a sentence before anything is applied."""

import socket
from pathlib import Path

import pytest

from elastic_deploy.model.errors import ExitCode, InvalidConfigError
from elastic_deploy.model.front_door import FrontDoorOptions
from elastic_deploy.runtime.front_door import FrontDoor


def test_a_taken_port_is_refused_and_a_free_one_is_not(tmp_path: Path) -> None:
    door = FrontDoor(tmp_path, "127.0.0.1", FrontDoorOptions, lambda: None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InvalidConfigError, match=f"Port {port} of the head") as refused:
            door.require_port(port)
        assert refused.value.code is ExitCode.INVALID_CONFIG
    door.require_port(port)
