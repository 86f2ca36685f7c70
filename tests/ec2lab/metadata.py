"""The instance metadata service, as each host sees it at 169.254.169.254.

Version 2 with its tokens, and version 1 where the instance allows it; paths, statuses and documents as the EC2 User
Guide describes them. Who asks is told by the address that the question comes from. `leaves` is pure; the server
answers from what the cloud gives it.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST = 21600  # seconds that a token may live


@dataclass(frozen=True)
class Identity:
    """What an instance can learn about itself. Times are seconds since the epoch; `role` has its ARN and its name."""

    instance: str
    instance_type: str
    image: str
    account: str
    region: str
    zone: str
    address: str
    public: str | None
    name: str
    launched: float
    spot: bool
    security_groups: tuple[str, ...]
    key_name: str | None
    public_key: str
    profile: tuple[str, str] | None
    role: str | None
    tags: tuple[tuple[str, str], ...]
    token_required: bool
    enabled: bool
    tags_shown: bool
    interruption: float | None = None
    rebalance: float | None = None


def timestamp(when: float) -> str:
    """The time as the service writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def leaves(who: Identity, now: float) -> dict[str, str]:
    """Every document that the instance can ask for, by its path below /latest/."""
    meta = {
        "ami-id": who.image,
        "ami-launch-index": "0",
        "hostname": who.name,
        "instance-id": who.instance,
        "instance-life-cycle": "spot" if who.spot else "on-demand",
        "instance-type": who.instance_type,
        "local-hostname": who.name,
        "local-ipv4": who.address,
        "placement/availability-zone": who.zone,
        "placement/region": who.region,
        "security-groups": "\n".join(who.security_groups),
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
    }
    if who.public:
        meta["public-ipv4"] = who.public
    if who.key_name:
        meta["public-keys/0/openssh-key"] = who.public_key
    if who.profile:
        info = {"Code": "Success", "LastUpdated": timestamp(now)}
        meta["iam/info"] = json.dumps(
            {**info, "InstanceProfileArn": who.profile[0], "InstanceProfileId": who.profile[1]}
        )
    if who.profile and who.role:
        credentials = {
            "Code": "Success",
            "LastUpdated": timestamp(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": f"role-of-{who.instance}",
            "SecretAccessKey": "the-lab-believes-everybody",
            "Token": f"session-of-{who.instance}",
            "Expiration": timestamp(now + 6 * 3600),
        }
        meta[f"iam/security-credentials/{who.role}"] = json.dumps(credentials)
    if who.interruption is not None:
        action = {"action": "terminate", "time": timestamp(who.interruption)}
        meta["spot/instance-action"] = json.dumps(action)
        meta["spot/termination-time"] = action["time"]
    if who.rebalance is not None:
        meta["events/recommendations/rebalance"] = json.dumps({"noticeTime": timestamp(who.rebalance)})
    if who.tags_shown:
        meta |= {f"tags/instance/{key}": value for key, value in who.tags}
    document = {
        "accountId": who.account,
        "architecture": "x86_64",
        "availabilityZone": who.zone,
        "imageId": who.image,
        "instanceId": who.instance,
        "instanceType": who.instance_type,
        "pendingTime": timestamp(who.launched),
        "privateIp": who.address,
        "region": who.region,
        "version": "2017-09-30",
    }
    return {
        **{f"meta-data/{path}": text for path, text in meta.items()},
        "dynamic/instance-identity/document": json.dumps(document, indent=2),
    }


def look_up(documents: dict[str, str], path: str) -> str | None:
    """The document at the path, or the listing of the directory; directories end with a slash in a listing."""
    path = path.strip("/")
    if path in documents:
        return documents[path]
    prefix = f"{path}/" if path else ""
    below = [name.removeprefix(prefix) for name in documents if name.startswith(prefix)]
    names = sorted({name if "/" not in name else name.split("/")[0] + "/" for name in below})
    return "\n".join(names) if names else None


class MetadataServer(ThreadingHTTPServer):
    """Answers on `address`; `identify` gives the identity of the host with an address, or None."""

    daemon_threads = True
    request_queue_size = 128  # all hosts' watchers may ask at once; who finds the queue full tries again after a second

    def __init__(self, address: str, identify: Callable[[str], Identity | None]) -> None:
        self.identify = identify
        self.tokens: dict[str, tuple[str, float]] = {}
        super().__init__((address, 80), _Question)

    def start(self) -> None:
        """Answer in a thread of its own from now on."""
        threading.Thread(target=self.serve_forever, name="metadata", daemon=True).start()


class _Question(BaseHTTPRequestHandler):
    server: MetadataServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "EC2ws", ""

    def do_PUT(self) -> None:
        who = self._asker()
        if who is None:
            return
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            self._answer(404, "")
        elif self.headers.get("X-Forwarded-For"):
            self._answer(403, "")  # a token asked for through a proxy is refused
        elif not seconds.isdigit() or not 1 <= int(seconds) <= LONGEST:
            self._answer(400, "")
        else:
            token = secrets.token_urlsafe(40)
            self.server.tokens[token] = (who.instance, time.monotonic() + int(seconds))
            self._answer(200, token, {"X-aws-ec2-metadata-token-ttl-seconds": seconds})

    def do_GET(self) -> None:
        who = self._asker()
        if who is None:
            return
        token = self.headers.get("X-aws-ec2-metadata-token")
        owner, until = self.server.tokens.get(token or "", ("", 0.0))
        valid = owner == who.instance and time.monotonic() < until
        if not valid and (token is not None or who.token_required):
            self._answer(401, "")
            return
        _, _, path = self.path.partition("/latest")
        found = look_up(leaves(who, time.time()), path.partition("?")[0])
        self._answer(200 if found is not None else 404, found or "")

    def _asker(self) -> Identity | None:
        """Who asks; those who may not ask have had their answer."""
        who = self.server.identify(self.client_address[0])
        if who is None:
            self._answer(404, "")
        elif not who.enabled:
            self._answer(403, "")
            return None
        return who

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Nothing: a watcher asks every few seconds."""
