"""Ends a cluster in EC2 by its tags, and looks until twice nothing of it is found.

Needs no head, no SSH key and nothing on this machine, and does not rely on Ray: its own teardown makes a key pair, a
role and a security group first where it finds none, and ends nothing when it cannot reach what it expects.

All instances are ended at once, the head among them. Its autoscaler runs until the head has shut down, and may launch
workers until then: hence the looking again, and the two looks, as EC2 may list a launch some seconds late.

Volumes are never deleted here: one that outlives its instance was told to, and may hold what somebody wants.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from elastic_deploy.cluster.aws.remains import (
    Kind,
    Remains,
    ids_in_words,
    instances_in_words,
    left_in_words,
    things_in_words,
)
from elastic_deploy.cluster.aws.session import TRANSIENT, client, code_of, region_of, unreached, words
from elastic_deploy.cluster.aws.tagged import look
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.errors import RefusedError

LIMIT_S = 900.0
"""EC2 takes one to four minutes to end an instance, and longer for those with many GPUs."""
LOOSE_LIMIT_S = 30.0
"""After the last instance has gone, its volumes and interfaces need some seconds; what then still is there, stays."""
EMPTY_LOOKS = 2

_BETWEEN_S = 3.0
_REMIND_S = 15.0
_UNANSWERED = 5
"""So many looks in a row may fail (each has been tried several times by then) before it is given up."""


class Verdict(Enum):
    """What a look means."""

    GONE = auto()
    WAIT = auto()
    GIVE_UP = auto()


@dataclass(frozen=True, slots=True)
class Course:
    """How far it is. Times are monotonic seconds. `refused`: what EC2 will not end, by id, in EC2's words."""

    began: float
    instances_seen: float
    looks: int = 0
    empty_looks: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)

    def after(self, found: Remains, now: float) -> "Course":
        """The course after one more look."""
        return replace(
            self,
            looks=self.looks + 1,
            instances_seen=now if found.instances else self.instances_seen,
            empty_looks=self.empty_looks + 1 if found.nothing else 0,
        )


def verdict(course: Course, found: Remains, now: float) -> Verdict:
    """Whether all is gone, some of it never will be, or it is worth waiting. The first rule that holds."""
    if course.empty_looks >= EMPTY_LOOKS:
        return Verdict.GONE
    if course.looks < 2:  # nothing has been tried yet
        return Verdict.WAIT
    if now - course.began > LIMIT_S:
        return Verdict.GIVE_UP
    # What is refused is refused again, unless it is ending all the same.
    if found.instances and all(each.id in course.refused and not each.is_ending for each in found.instances):
        return Verdict.GIVE_UP
    # Nothing but volumes, or questions without an answer: time does not mend that.
    if not found.nothing and not found.instances and now - course.instances_seen > LOOSE_LIMIT_S:
        return Verdict.GIVE_UP
    return Verdict.WAIT


def end(config: ClusterConfig, say: Callable[[str], None]) -> bool:
    """End everything of the cluster, and return when twice nothing was found; whether anything was before.

    Raises RefusedError (exit 7) that names what is left, and the commands that remove it.
    """
    ec2 = client(config, "ec2")
    now = time.monotonic()
    course = Course(began=now, instances_seen=now)
    progress = _Progress(say, now)
    unanswered = 0
    while True:
        try:
            found = look(config, ec2)
        except RefusedError as error:
            unanswered += 1
            if unanswered >= _UNANSWERED or not course.looks:
                raise
            say(error.message)
            time.sleep(_BETWEEN_S)
            continue
        unanswered = 0
        now = time.monotonic()
        course = course.after(found, now)
        match verdict(course, found, now):
            case Verdict.GONE:
                return course.looks > EMPTY_LOOKS
            case Verdict.GIVE_UP:
                raise RefusedError(f"{config.name}: {left_in_words(found, course.refused, region_of(config))}")
        progress.tell(found, now)
        course = replace(course, refused={**course.refused, **_end(ec2, found, course.refused)})
        time.sleep(_BETWEEN_S)


class _Progress:
    """Says what is left whenever it has changed, and now and then while it has not."""

    def __init__(self, say: Callable[[str], None], now: float) -> None:
        self._say, self._began, self._said_at, self._words = say, now, now, ""
        self._staying: set[str] = set()

    def tell(self, found: Remains, now: float) -> None:
        staying = [volume for each in found.instances for volume in each.stays if volume not in self._staying]
        if staying:
            self._staying |= set(staying)
            self._say(f"Told to outlive their instances, and not deleted: {ids_in_words(staying)}.")
        words = instances_in_words(found.instances) if found.instances else things_in_words(found.loose)
        if words and (words != self._words or now - self._said_at > _REMIND_S):
            waited = format_duration(now - self._began)
            self._say(f"After {waited} there is still {words}." if self._words else f"Being ended: {words}.")
            self._words, self._said_at = words, now


def _end(ec2: Any, found: Remains, refused: Mapping[str, str]) -> dict[str, str]:
    """Ask for the end of all that is not ending; what EC2 refuses for good, by id, with its words."""
    standing = [each for each in found.instances if not each.is_ending and each.id not in refused]
    spots = [each.id for each in found.things if each.kind is Kind.SPOT_REQUEST]
    spots += [each.spot_request for each in standing if each.spot_request]
    refusals = {}
    # First of all: a request that stands may be fulfilled again.
    for name in dict.fromkeys(spots):
        refusals[name] = _refusal(ec2.cancel_spot_instance_requests, SpotInstanceRequestIds=[name])
    refusals |= _terminate(ec2, [each.id for each in standing])
    for thing in found.things:
        if thing.kind is Kind.INTERFACE and thing.state == "available":
            refusals[thing.id] = _refusal(ec2.delete_network_interface, NetworkInterfaceId=thing.id)
        if thing.kind is Kind.PLACEMENT_GROUP and not found.instances:
            refusals[thing.id] = _refusal(ec2.delete_placement_group, GroupName=thing.id)
    return {name: why for name, why in refusals.items() if why}


def _terminate(ec2: Any, ids: list[str]) -> dict[str, str]:
    """All in one call. Where EC2 refuses one, it may refuse all with it: then each by itself."""
    from botocore.exceptions import ClientError

    if not ids:
        return {}
    try:
        ec2.terminate_instances(InstanceIds=ids)
    except (ClientError, *unreached()):
        return {name: _refusal(ec2.terminate_instances, InstanceIds=[name]) for name in ids}
    return {}


def _refusal(call: Callable[..., object], **arguments: object) -> str:
    """EC2's words; empty where it agreed, where it may agree in a moment, and where it has no such thing any more."""
    from botocore.exceptions import ClientError

    try:
        call(**arguments)
    except ClientError as error:
        code = code_of(error)
        return "" if code in TRANSIENT or code.endswith((".NotFound", ".Unknown")) else words(error).rstrip(".")
    except unreached():
        return ""  # EC2 was not reached: the next look says so, or the next try succeeds
    return ""
