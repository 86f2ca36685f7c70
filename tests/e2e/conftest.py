"""One cluster and one deployment for the whole session, made and taken down by the commands of a user."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.e2e.user import User, shared_memory

TEMPLATE = Path(__file__).parents[2] / "cluster-templates" / "local.yaml"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_user(directory: Path, name: str, **provider: object) -> User:
    """A user with a copy of the local template, quicker canaries, and additions to its provider section."""
    config = yaml.safe_load(TEMPLATE.read_text())
    config["cluster_name"] = name
    config["provider"] |= provider
    canary = {"canary_period": "2s", "canary_timeout": "4s", "canary_failures": 3}
    config["metadata"] = {"elastic_deploy": canary}
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return User(path, name, directory / "home", free_port(), shared_memory())


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """Where the session's clusters live; short, as sockets' paths must be."""
    with tempfile.TemporaryDirectory(prefix="ed-e2e-") as path:
        yield Path(path)


@contextmanager
def user_of(directory: Path, name: str, **provider: object) -> Iterator[User]:
    """The user of a cluster of this name. Whatever the tests did, nothing of it is left running."""
    one = make_user(directory, name, **provider)
    try:
        yield one
    finally:
        result = one.run("down", str(one.path), "--yes", limit=180)
        left = [process for process in one.processes() if process.is_running()]
        assert result.returncode == 0, result.stderr
        assert not left


@pytest.fixture(scope="session")
def user(directory: Path) -> Iterator[User]:
    """The user of the shared cluster."""
    with user_of(directory, "e2e") as one:
        yield one
