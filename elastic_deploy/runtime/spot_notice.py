"""What EC2 tells an instance about its end: the spot interruption notice and the rebalance recommendation.

Read from the instance metadata service, version 2, with the standard library alone, because it runs on every node.
`runtime.interruption_watch` asks every few seconds. Paths, statuses and documents as the EC2 User Guide has them.
"""

import http.client
import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
"""The AWS SDKs' own name for where the service is. A path in it stands before the service's own."""

ENDPOINT = "http://169.254.169.254"
TOKEN_SECONDS = 21600
"""The longest that a token may live."""

ANSWER = 2.0
"""Seconds for an answer, which comes from the host itself within a few milliseconds."""

UNREACHED = (OSError, http.client.HTTPException)
"""What a question may raise where nobody answers it, or not in HTTP."""


class NoMetadataError(Exception):
    """No metadata service answers here, or it is switched off: this is no instance of EC2 that could be asked."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What was said. `at` is when the instance is taken; for a recommendation to rebalance there is no such time."""

    interruption: bool
    at: float | None


def endpoint() -> str:
    """Where the metadata service is, as the AWS SDKs find it."""
    return os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT


def parse_time(text: str) -> float:
    """EC2's way of writing a time, in seconds since the epoch. Raises ValueError for anything else."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


class Metadata:
    """The metadata service of the instance on which this runs."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._token = ""

    def life_cycle(self) -> str:
        """`spot`, `on-demand` or another, "" where the service does not say. Raises NoMetadataError if none answers."""
        try:
            return self._get("meta-data/instance-life-cycle") or ""
        except UNREACHED as error:
            raise NoMetadataError(f"the instance metadata service does not answer: {error}") from error

    def notice(self) -> Notice | None:
        """What EC2 has said, the interruption before the recommendation. Raises one of UNREACHED, or ValueError."""
        if action := self._get("meta-data/spot/instance-action"):
            return Notice(True, parse_time(json.loads(action)["time"]))
        if self._get("meta-data/events/recommendations/rebalance"):
            return Notice(False, None)
        return None

    def _get(self, path: str) -> str | None:
        for _ in range(2):
            if not self._token:
                headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
                status, text = self._ask("PUT", "api/token", headers)
                if status == 403:
                    raise NoMetadataError("the instance metadata service is switched off on this instance")
                if status != 200:
                    raise http.client.HTTPException(f"no token for the instance metadata: status {status}")
                self._token = text
            status, text = self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
            if status == 200:
                return text
            if status != 401:
                return None
            self._token = ""  # it has expired
        return None

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        # Not by way of a proxy of the environment: the service refuses those, and the address is the host's own.
        with closing(http.client.HTTPConnection(self._host, self._port, timeout=ANSWER)) as connection:
            connection.request(method, f"{self._prefix}/latest/{path}", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")


def await_notice(metadata: Metadata, period: float, known: bool, sleep: Callable[[float], None] = time.sleep) -> Notice:
    """The next notice that is not known; `known`: the recommendation to rebalance is. Raises NoMetadataError.

    A question that is not answered is asked again: the service may refuse for a while, and a notice stands for minutes.
    """
    while True:
        try:
            notice = metadata.notice()
        except (*UNREACHED, ValueError, KeyError, TypeError):
            notice = None
        if notice is not None and (notice.interruption or not known):
            return notice
        sleep(period)
