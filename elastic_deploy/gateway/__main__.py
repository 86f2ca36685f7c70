"""`python -m elastic_deploy.gateway`: started by the supervisor on the head; runs until SIGTERM or SIGINT.

Exit status 0 after a signal, 2 for a wrong command line, 3 if the address cannot be had or the certificate cannot be
used, 1 for a bug.
"""

import asyncio
import contextlib
import resource
import signal
import sys
from dataclasses import replace

from elastic_deploy.gateway.log import Log
from elastic_deploy.gateway.server import Gateway
from elastic_deploy.gateway.settings import Settings, parse_arguments
from elastic_deploy.model.errors import UserError

SPARE_DESCRIPTORS = 256
"""For files, listening sockets, and connections over the bound while they are told so."""


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with Gateway(settings, Log(sys.stderr)) as gateway:
        watch = asyncio.create_task(gateway.watch())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({watch, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            watch.result()
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


def _run(settings: Settings) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(settings))
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


def _within_descriptors(settings: Settings) -> Settings:
    """`settings` with no more connections than this process can have descriptors for, two each."""
    # The soft limit, often 1024, would be reached by 500 streams.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = max(1, (hard - SPARE_DESCRIPTORS) // 2) if hard != resource.RLIM_INFINITY else settings.client.connections
    if most >= settings.client.connections:
        return settings
    Log(sys.stderr).event("connections_bounded", connections=most, descriptors=hard)
    return replace(settings, client=replace(settings.client, connections=most))


def main() -> int:
    """Run the gateway; its exit status."""
    settings = parse_arguments(sys.argv[1:])
    try:
        _run(_within_descriptors(settings))
    except UserError as error:
        print(error.message, file=sys.stderr)
        return int(error.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
