"""The lab's network: one bridge, a cable to each host, and cuts between any two. Builders of `ip` batches.

Addresses are those of a default VPC. All zones share the bridge; the gateway is the user's laptop, the API and the
instance metadata. Every builder returns lines for `ip -batch -`, for the outer namespace or for one host's.
"""

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

GATEWAY = "172.31.0.1"
PREFIX = 16  # of the default VPC, 172.31.0.0/16
METADATA = "169.254.169.254"
API_PORT = 5000
ENDPOINT = f"http://{GATEWAY}:{API_PORT}"
NOWHERE = "02:00:00:00:00:01"  # a link-layer address that no cable has

LAPTOP = "laptop"  # the end of a cut that is not a host


def run_ip(lines: Sequence[str], namespace: str | None = None, *, check: bool = True) -> None:
    """Carry out a batch, in a host's namespace or else in our own. RuntimeError with what ip said when it fails."""
    inside = ["-n", namespace] if namespace else []
    force = [] if check else ["-force"]
    done = subprocess.run(
        ["ip", *inside, *force, "-batch", "-"],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"ip refused {list(lines)}: {done.stderr.strip()}")


def link_address(address: str) -> str:
    """The link-layer address of whoever has the address: neighbours that remember it are right about the next as well.

    EC2 gives a terminated instance's address to another, and so does the lab. A neighbour asks anew only after half a
    minute or more.
    """
    return ":".join(f"{byte:02x}" for byte in b"\x02\x00" + IPv4Address(address).packed)


def outer() -> list[str]:
    """The bridge with the gateway's and the metadata's addresses. No route leads out: other addresses are refused.

    A bridge without a link-layer address of its own takes the lowest of its cables', and so another one whenever a host
    comes or goes; until they ask anew, no host then reaches the API.
    """
    return [
        "link set lo up",
        f"link add br0 address {link_address(GATEWAY)} type bridge",
        f"addr add {GATEWAY}/{PREFIX} dev br0",
        f"addr add {METADATA}/32 dev br0",
        "link set br0 up",
    ]


def refuse_promptly() -> None:
    """Let our namespace refuse as often as it is asked, where Linux refuses each host once a second only.

    A host's look-up of a name that nobody knows is refused, and one that goes unanswered waits for five seconds.
    """
    Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")


def cable(host: str, address: str) -> list[str]:
    """A namespace for the host and a cable from the bridge to its eth0."""
    return [
        f"netns add {host}",
        f"link add {host} type veth peer name eth0 address {link_address(address)} netns {host}",
        f"link set {host} master br0 up",
    ]


def inside(address: str, public: str | None) -> list[str]:
    """The host's own side. Ray finds a host's address by the default route, so there has to be one."""
    return [
        "link set lo up",
        f"addr add {address}/{PREFIX} dev eth0",
        *([f"addr add {public}/32 dev eth0"] if public else []),
        "link set eth0 up",
        f"route add default via {GATEWAY} src {address}",
    ]


def public_route(address: str, public: str) -> list[str]:
    """From the outer namespace: a public address leads to its host."""
    return [f"route replace {public}/32 via {address}"]


def unplug(host: str, public: str | None) -> list[str]:
    """The reverse of `cable`; the cable goes with its namespace."""
    return [f"link del {host}", f"netns del {host}", *([f"route del {public}/32"] if public else [])]


def blind(peer: str, device: str) -> list[str]:
    """Whatever is sent to the peer from here vanishes, on connections that stand as well: a black hole."""
    return [f"neigh replace {peer} lladdr {NOWHERE} nud permanent dev {device}"]


def seeing(peer: str, device: str) -> list[str]:
    """The reverse of `blind`."""
    return [f"neigh del {peer} dev {device}"]
