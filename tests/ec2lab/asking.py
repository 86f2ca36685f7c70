"""What the lab's own tests ask again and again: of the API, of a host, of its metadata."""

import time
from collections.abc import Callable
from typing import Any

from tests.ec2lab.lab import Lab

METADATA = "http://169.254.169.254/latest"
TYPE = "g5.xlarge"  # 4 vCPUs


def until(ready: Callable[[], object], limit: float = 60.0, every: float = 0.05) -> None:
    """Wait for it, or fail; look `every` so many seconds: seldom, where a look costs seconds of a processor."""
    end = time.monotonic() + limit
    while not ready():
        assert time.monotonic() < end, f"not within {limit:.0f} s"
        time.sleep(every)


def launch(lab: Lab, zone: str = "us-west-2a", count: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Launch up to `count` instances in the zone; what EC2 answers."""
    request = {"ImageId": lab.image, "InstanceType": TYPE, "MinCount": 1, "MaxCount": count, "KeyName": lab.key_name}
    answer = lab.client("ec2").run_instances(**{**request, "SubnetId": lab.subnets[zone], **more})
    return list(answer["Instances"])


def boot(lab: Lab, zone: str = "us-west-2a", **more: Any) -> str:
    """Launch an instance and wait until its host answers SSH; its id."""
    (launched,) = launch(lab, zone, **more)
    until(lambda: launched["InstanceId"] in lab.hosts())
    until(lambda: lab.ssh(launched["PrivateIpAddress"], "true").returncode == 0)
    return str(launched["InstanceId"])


def state(lab: Lab, instance: str) -> dict[str, Any]:
    """The instance as DescribeInstances has it."""
    (reservation,) = lab.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
    return dict(reservation["Instances"][0])


def metadata(lab: Lab, instance: str, path: str, *headers: str) -> tuple[int, str]:
    """The status and the text that the instance gets for a question without a token."""
    flags = [word for header in headers for word in ("-H", header)]
    done = lab.run_on(
        instance, ["curl", "-s", "-m", "10", "-w", "\n%{http_code}", *flags, f"{METADATA}/{path}"]
    ).check()
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def token(lab: Lab, instance: str, seconds: str = "60") -> str:
    """A token for the instance's metadata."""
    flags = ["-s", "-m", "10", "-X", "PUT", "-H", f"X-aws-ec2-metadata-token-ttl-seconds: {seconds}"]
    return lab.run_on(instance, ["curl", *flags, f"{METADATA}/api/token"]).check().stdout
