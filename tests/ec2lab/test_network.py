"""The lab's network while hosts come and go: who stands on it reaches the API, names and other hosts as before."""

import json

import pytest

from tests.ec2lab.asking import boot, launch, state, until
from tests.ec2lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

PROMPT = 4.0
"""Seconds. A look-up that is not refused takes five, and a lost connection at least ten here."""

ASK_AGAIN_AND_AGAIN = """
import http.client, json, socket, time

def took(question):
    began, answer = time.monotonic(), "answered"
    try:
        question()
    except OSError as error:
        answer = f"{type(error).__name__}: {error}"
    return [time.monotonic() - began, answer]

def instances():
    connection = http.client.HTTPConnection("172.31.0.1", 5000, timeout=10)
    scope = "AWS4-HMAC-SHA256 Credential=lab/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"Authorization": scope, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/", "Action=DescribeInstances&Version=2016-11-15", headers)
    answer = connection.getresponse().read()
    assert b"DescribeInstancesResponse" in answer, answer
    connection.close()

end = time.monotonic() + SECONDS
while time.monotonic() < end:
    name = took(lambda: socket.getaddrinfo("nobody-knows.example", 80))
    print(json.dumps({"api": took(instances), "name": name}), flush=True)
    time.sleep(0.2)
"""


def test_hosts_that_come_and_go_keep_nobody_from_the_api(lab: Lab) -> None:
    one = boot(lab)
    code = ASK_AGAIN_AND_AGAIN.replace("SECONDS", "25")
    lab.run_on(one, ["sh", "-c", 'python3 -c "$0" >/root/asked 2>&1 & echo $! >/root/asker', code]).check()
    for _ in range(3):
        others = [launched["InstanceId"] for launched in launch(lab, count=3)]
        until(lambda: len(lab.hosts()) == 4)
        lab.client("ec2").terminate_instances(InstanceIds=others)
        until(lambda: set(lab.hosts()) == {one})
    until(lambda: lab.run_on(one, ["sh", "-c", "kill -0 $(cat /root/asker)"]).returncode)
    said = lab.run_on(one, ["cat", "/root/asked"]).check().stdout
    assert "Traceback" not in said, said
    asked = [json.loads(line) for line in said.splitlines()]
    for what in ("api", "name"):
        slowest = max(answer[what] for answer in asked)
        print(f"{what}: asked {len(asked)} times, the slowest answer took {slowest[0]:.2f} s")
        assert slowest[0] < PROMPT, f"{what}: {slowest}"
    assert {answer["api"][1] for answer in asked} == {"answered"}
    assert len(asked) > 20


def test_the_next_to_get_an_address_is_reached_at_once_by_those_who_knew_the_last(lab: Lab) -> None:
    peer, last = boot(lab), boot(lab)
    address = state(lab, last)["PrivateIpAddress"]
    banner = ["timeout", str(PROMPT), "bash", "-c", f"exec 3<>/dev/tcp/{address}/22; head -c 4 <&3"]
    assert lab.run_on(peer, banner).check().stdout == "SSH-"
    lab.client("ec2").terminate_instances(InstanceIds=[last])
    until(lambda: state(lab, last)["State"]["Name"] == "terminated")
    (following,) = launch(lab, PrivateIpAddress=address)
    instance = following["InstanceId"]
    until(lambda: lab.hosts().get(instance) == address)
    local = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22"]
    until(lambda: lab.run_on(instance, local).returncode == 0)
    assert lab.run_on(peer, banner).stdout == "SSH-"
    assert lab.run(banner).stdout == "SSH-"
