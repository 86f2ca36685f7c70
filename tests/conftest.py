"""What holds for all tests."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# moto's account has 1,300 images, and an answer that lists them takes it half a second: two are enough for every test.
# Read when moto is first imported.
os.environ.setdefault("MOTO_AMIS_PATH", str(Path(__file__).parent / "amazon_images.json"))

# How long one example takes says more about what else the machine does than about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


class LeaveWithoutRay:
    """Ends the process with pytest's own exit code where Ray was connected to.

    Threads of Ray's core worker outlive ray.shutdown() and now and then use what the interpreter's end has freed
    (ray-project/ray#31145): a run of which every test had passed ended with a segmentation fault. Ray ends its own
    workers like this.
    """

    def __init__(self) -> None:
        self._status = pytest.ExitCode.OK

    def pytest_sessionfinish(self, exitstatus: pytest.ExitCode) -> None:
        self._status = exitstatus

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        if "ray._raylet" in sys.modules:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(self._status))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeaveWithoutRay())
    # A shell has what it runs in the background ignore Ctrl-C, and so would the commands that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
