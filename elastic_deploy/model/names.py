"""The names that actors and placement groups carry in Ray: how a restarted supervisor knows its own.

All of them live in one Ray namespace. A name holds the deployment, the replica, and for engines the generation.
"""

import re
from dataclasses import dataclass

NAMESPACE = "elastic-deploy"
SUPERVISOR = "supervisor"
ENGINE_MARK = "ELASTIC_DEPLOY_ENGINE"
"""Environment variable of every process of an engine, on every node: its value is the engine's name."""

_ENGINE = re.compile(r"^engine/(?P<deployment>[^/]+)/(?P<replica>[^/]+)/g(?P<generation>\d+)$")
_GROUP = re.compile(r"^group/(?P<deployment>[^/]+)/(?P<replica>[^/]+)$")


@dataclass(frozen=True, slots=True, order=True)
class GroupName:
    """The placement group of one replica."""

    deployment: str
    replica: str

    def __str__(self) -> str:
        return f"group/{self.deployment}/{self.replica}"

    @staticmethod
    def parse(text: str) -> "GroupName | None":
        """The name that `text` spells, or None if it is not one of ours."""
        match = _GROUP.match(text)
        return GroupName(match["deployment"], match["replica"]) if match else None


@dataclass(frozen=True, slots=True, order=True)
class EngineName:
    """One engine: a replica's engine is replaced by one of the next generation, never started again."""

    deployment: str
    replica: str
    generation: int

    def __str__(self) -> str:
        return f"engine/{self.deployment}/{self.replica}/g{self.generation}"

    @property
    def group(self) -> GroupName:
        """The placement group that it runs in."""
        return GroupName(self.deployment, self.replica)

    @staticmethod
    def parse(text: str) -> "EngineName | None":
        """The name that `text` spells, or None if it is not one of ours."""
        match = _ENGINE.match(text)
        return EngineName(match["deployment"], match["replica"], int(match["generation"])) if match else None
