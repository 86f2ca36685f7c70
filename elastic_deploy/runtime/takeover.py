"""`python -m elastic_deploy.runtime.takeover PID elastic_deploy.gateway ARGUMENTS`: a gateway that follows another.

Started by `front_door` where the running gateway has to be replaced. It imports first, which is what takes long, and
only then ends its predecessor, which stops listening at once and goes on with the answers that it is in. So clients
are without a door for milliseconds, however long the old one drains.
"""

import sys
import time
from contextlib import suppress
from importlib import import_module

import psutil

from elastic_deploy.gateway import __main__ as gateway
from elastic_deploy.gateway.settings import parse_arguments
from elastic_deploy.runtime.gateway_process import is_gateway
from elastic_deploy.runtime.port import why_taken

PORT_WITHIN = 10.0
"""Seconds for the predecessor to stop listening: one turn of its event loop, on a head that may be busy."""

_STEP = 0.005


def main() -> int:
    """Take over, and run the gateway; its exit status."""
    pid, program, *arguments = sys.argv[1:]
    settings = parse_arguments(arguments)  # a wrong command line must not cost the running one its life
    with suppress(ImportError):
        import_module("uvloop")  # the gateway would, as it starts
    with suppress(psutil.NoSuchProcess):
        predecessor = psutil.Process(int(pid))
        if is_gateway(predecessor, settings.directory):
            predecessor.terminate()
    deadline = time.monotonic() + PORT_WITHIN
    while why_taken(settings.host, settings.port) and time.monotonic() < deadline:
        time.sleep(_STEP)
    sys.argv = [program, *arguments]
    return gateway.main()


if __name__ == "__main__":
    sys.exit(main())
