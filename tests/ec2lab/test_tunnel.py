"""The tunnel to a port of a real host: opened over SSH, cut, back again, and gone with the command."""

import signal
import sys
import textwrap
from typing import Any

import pytest

from tests.ec2lab.asking import boot, state, until
from tests.ec2lab.lab import Lab

pytestmark = pytest.mark.lab

PORT = 9123
SERVE = "exec python3 -m http.server 8000 --bind 0.0.0.0 --directory /srv/door"
HOLD = textwrap.dedent("""
    import sys
    from elastic_deploy.cluster.tunnel import Way, hold
    try:
        hold(Way(sys.argv[1], int(sys.argv[2]), sys.argv[3], 8000),
             lambda: print("ready", flush=True), lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("closed", flush=True)
""")


@pytest.mark.timeout(300)
def test_a_tunnel_comes_back_when_its_ssh_dies_and_goes_with_ctrl_c(lab: Lab) -> None:
    instance = boot(lab)
    address = state(lab, instance)["PrivateIpAddress"]
    lab.run_on(instance, ["sh", "-c", "mkdir -p /srv/door; echo behind the door > /srv/door/page"]).check()
    lab.run_on(instance, ["sh", "-c", f"setsid sh -c '{SERVE}' </dev/null >/dev/null 2>&1 &"]).check()
    shell = f"ssh -tt -o IdentitiesOnly=yes -i {lab.key_file} ubuntu@{address}"
    held = lab.start([sys.executable, "-c", HOLD, shell, str(PORT), address])

    until(lambda: "ready" in held.output()[0] or held.ended)
    until(lambda: page(lab).stdout == "behind the door\n")

    first = tunnels(lab)
    assert len(first) == 1
    lab.run(["kill", "-KILL", first[0]]).check()
    until(lambda: "stands again" in held.output()[0])
    until(lambda: page(lab).stdout == "behind the door\n")
    assert held.output()[0].count("was lost") == 1
    assert len(tunnels(lab)) == 1
    assert tunnels(lab) != first

    held.signal(signal.SIGINT)
    done = held.wait(30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("closed\n")
    assert tunnels(lab) == []
    assert page(lab).returncode == 7  # refused: nobody listens


def page(lab: Lab) -> Any:
    return lab.run(["curl", "-s", "-m", "5", f"http://127.0.0.1:{PORT}/page"])


def tunnels(lab: Lab) -> list[str]:
    """The numbers of the ssh processes that hold the tunnel, on the laptop."""
    return lab.run(["pgrep", "-f", f"^ssh -N .*{PORT}:"]).stdout.split()
