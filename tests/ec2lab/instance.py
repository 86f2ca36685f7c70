"""moto's instance with EC2's timing: it is pending before it runs, and shutting down before it is terminated.

The class stands in for moto's own while the lab's daemon runs (`install`). moto makes, starts, stops and terminates
instances through it as before; what follows by itself, follows when the daemon calls `advance`.
"""

import secrets
import time
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import instances as motos
from moto.ec2.models.instances import Instance, InstanceState, StateReason

from tests.ec2lab import words
from tests.ec2lab.lifecycle import CODES, Timing, due
from tests.ec2lab.words import Refusal


def refuse(refusal: Refusal) -> EC2ClientError:
    """The exception by which moto answers a refusal."""
    return EC2ClientError(refusal.code, refusal.message)


class LabInstance(Instance):  # type: ignore[misc]  # moto has no types here
    """An instance whose states take time. `since`: when it came into its state (monotonic seconds)."""

    nics: dict[int, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.since = time.monotonic()
        self.ran_since: float | None = None
        self.interruption: float | None = None  # epoch seconds of a spot notice's end
        self.rebalance: float | None = None
        self.checks_take = 0.0
        for device, nic in self.nics.items():  # made for this launch, and so to go with it unless it was told to stay
            asked: dict[str, Any] = next(
                (one for one in kwargs.get("nics", []) if int(one["DeviceIndex"]) == device), {}
            )
            if "NetworkInterfaceId" not in asked:
                nic.delete_on_termination = asked.get("DeleteOnTermination", True) is not False
        if kwargs.get("instance_market_options"):
            self.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
        self.turn("pending")
        self.state_reason = StateReason("pending", "pending")

    def turn(self, state: str) -> None:
        """Come into a state."""
        self._state = InstanceState(state, CODES[state])
        self.since = time.monotonic()
        if state == "running":
            self.ran_since = self.since
            self.state_reason = StateReason()

    def _now(self) -> InstanceState:
        return InstanceState(self._state.name, self._state.code)

    def start(self) -> InstanceState:
        previous = self._now()
        if previous.name == "stopped":
            super().start()
            self.turn("pending")
            self.state_reason = StateReason("pending", "pending")
        elif previous.name not in ("pending", "running"):
            raise refuse(words.not_in_a_state(self.id, "started"))
        return previous

    def stop(self) -> InstanceState:
        previous = self._now()
        if previous.name in ("pending", "running"):
            super().stop()
            self.turn("stopping")
        elif previous.name not in ("stopping", "stopped"):
            raise refuse(words.not_in_a_state(self.id, "stopped"))
        return previous

    def terminate(self) -> InstanceState:
        previous = self._now()
        if previous.name not in ("shutting-down", "terminated"):
            self.leave("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
        return previous

    def leave(self, code: str, message: str) -> None:
        """Begin to shut down, for a reason."""
        self.state_reason = StateReason(message, code)
        self.turn("shutting-down")

    def end(self) -> None:
        """Be terminated: addresses, interfaces and volumes are given back. The reason stays what it was."""
        reason = self.state_reason
        super().terminate()
        self.state_reason = reason
        self.nics = {}
        self.turn("terminated")

    def advance(self, timing: Timing) -> bool:
        """Do what is due by now. False when the instance is no longer to be listed."""
        self.checks_take = timing.checks
        if self.interruption is not None and time.time() >= self.interruption and self.state == "running":
            self.leave("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
        following = due(self.state, self.since, time.monotonic(), timing)
        if following == "terminated":
            self.end()
        elif following and following != "forgotten":
            self.turn(following)
        return following != "forgotten"

    @property
    def private_ip(self) -> str | None:
        """The private address; a terminated instance has none."""
        return self.nics[0].private_ip_address if self.nics else None

    @property
    def public_ip(self) -> str | None:
        """The public address; a terminated instance has none, nor has a stopped one."""
        return self.nics[0].public_ip if self.nics else None

    private_ip_address, public_ip_address = private_ip, public_ip

    @property
    def private_dns_name(self) -> str:
        """The private name, made of the address."""
        return str(super().private_dns_name) if self.nics else ""

    @property
    def instance_status(self) -> dict[str, Any]:
        """The reachability check: it is being made for a while after the instance has begun to run."""
        if self.state != "running" or self.ran_since is None:
            return {"Status": "not-applicable"}
        done = time.monotonic() - self.ran_since >= self.checks_take
        detail = {"Name": "reachability", "Status": "passed" if done else "initializing"}
        return {"Details": [detail], "Status": "ok" if done else "initializing"}

    system_status = instance_status


def install() -> None:
    """Let moto make instances of this class, in this process, from now on."""
    motos.Instance = LabInstance
