"""Whether the front door can have its port, found out before anything is started. Called by `up`."""

import socket
from typing import Any
from urllib.parse import urlsplit

from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.phase import Phase

_LOOPBACK = "127.0.0.1"


def require_free_port(port: int) -> None:
    """Raise InvalidConfigError where nobody can listen on `port` of this machine's loopback address."""
    with socket.socket() as probe:
        # A port whose last connections are still being forgotten is free: whoever takes it will say so as well.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except PermissionError:
            raise InvalidConfigError(
                f"Port {port} may not be taken by this user: name one above 1023 with --port."
            ) from None
        except OSError as error:
            raise InvalidConfigError(
                f"Port {port} is in use on this machine ({error.strerror}): name a free one with --port, or end what"
                " listens there."
            ) from None


def front_door_port(document: dict[str, Any]) -> int | None:
    """The port on which a cluster's front door listens, None where it has none because nothing is wanted of it."""
    for deployment in document["deployments"]:
        if deployment["phase"] != Phase.STOPPED and deployment["endpoint"]:
            return urlsplit(str(deployment["endpoint"])).port
    return None
