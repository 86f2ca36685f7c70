"""Whether the front door can have a port of the head. Asked before one is applied, and by one that takes over."""

import socket


def why_taken(host: str, port: int) -> str:
    """Why nobody can listen there at present, in the system's words; "" where somebody can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # Connections that a former listener still answers do not keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
