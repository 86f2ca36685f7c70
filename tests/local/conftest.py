"""What the tests of the local provider share: a home of their own, and waiting with a limit."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

Until = Callable[[Callable[[], object], float, str], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ELASTIC_DEPLOY_HOME of the test."""
    monkeypatch.setenv("ELASTIC_DEPLOY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait until a condition holds, for so many seconds; the text says what was waited for."""

    def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
            time.sleep(0.05)

    return wait
