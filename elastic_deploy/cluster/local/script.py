"""The rehearsal script of a cluster of local nodes: how its machines are to be slow, scarce, refused and mortal.

The node provider reads it at every launch and every look. It stands in the cluster YAML,

    provider:
      rehearsal_script:
        launch_delay: 5               # seconds from the launch until commands can be run on the node
        max_nodes: 2                  # workers at one time; a launch beyond is refused as out of capacity
        refuse:                       # launches (not nodes) that are refused first, whatever their size
          count: 3                    # leave it out to refuse until the script is changed
          code: InsufficientInstanceCapacity
          message: There is no capacity of this type in the zone.
        die_after: 60                 # seconds from the node's Ray being up until it loses its power
        node_types:                   # any of the above for one node type, in place of the general ones
          gpu: {launch_delay: 1}

and, to change it while the cluster runs, in `<home>/<cluster name>/local/script.json`, which then replaces that of
the YAML whole; the count of refusals starts again with a changed script. The head obeys no script.

The decisions are pure. Nothing here knows Ray, a process or the disk.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elastic_deploy.model.errors import InvalidConfigError

_OUT_OF_CAPACITY = "InsufficientInstanceCapacity"  # what EC2 answers when it has no machine of the type

Seconds = Annotated[float, Field(ge=0)]


class Refusal(BaseModel):
    """What a refused launch is told, in the cloud's words. `count`: how many launches; None: every one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Annotated[int, Field(ge=0)] | None = None
    code: str = _OUT_OF_CAPACITY
    message: str = "The rehearsal script refuses this launch."


class Rules(BaseModel):
    """What holds for the nodes of one type, or for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    launch_delay: Seconds | None = None
    max_nodes: Annotated[int, Field(ge=0)] | None = None
    refuse: Refusal | None = None
    die_after: Seconds | None = None


class Script(Rules):
    """The whole script: rules for all, and for node types by name."""

    node_types: dict[str, Rules] = Field(default_factory=dict)

    def rules_for(self, node_type: str) -> Rules:
        """The rules of one node type: its own where it has any, the general ones else."""
        own = self.node_types.get(node_type, Rules()).model_dump(exclude_none=True)
        general = self.model_dump(exclude={"node_types"}, exclude_none=True)
        return Rules.model_validate({**general, **own})

    def digest(self) -> str:
        """A short name of the script's content: another script has another."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a launch: so many nodes are made, and the rest refused, if `refusal` is there.

    `counted`: whether this refusal is one of `Refusal.count`.
    """

    granted: int
    refusal: Refusal | None = None
    counted: bool = False


def parse(settings: object, source: str) -> Script:
    """The script from what a YAML or JSON file holds (None: an empty one).

    Raises InvalidConfigError with a sentence that names `source` and every wrong setting.
    """
    try:
        return Script.model_validate(settings or {})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the script'}: {one['msg']}" for one in error.errors())
        raise InvalidConfigError(f"The rehearsal script in {source} is invalid ({wrong}): correct it there.") from error


def judge(script: Script, node_type: str, count: int, alive_of_type: int, alive: int, refused: int) -> Verdict:
    """Whether a launch of `count` nodes may be.

    `alive_of_type` and `alive` count the workers that are there, those of this type and all; `refused` the launches
    that this script has refused so far.
    """
    rules = script.rules_for(node_type)
    if rules.refuse and (rules.refuse.count is None or refused < rules.refuse.count):
        return Verdict(granted=0, refusal=rules.refuse, counted=True)
    limited_by_type = script.node_types.get(node_type, Rules()).max_nodes is not None
    if rules.max_nodes is None:
        return Verdict(granted=count)
    room = max(0, rules.max_nodes - (alive_of_type if limited_by_type else alive))
    if count <= room:
        return Verdict(granted=count)
    there_is = f"{rules.max_nodes} {'node' if rules.max_nodes == 1 else 'nodes'}"
    return Verdict(
        granted=room,
        refusal=Refusal(message=f"The rehearsal script has room for {there_is}; {count} more were asked for."),
    )


def is_due_to_die(script: Script, node_type: str, up_since: float | None, now: float) -> bool:
    """Whether a worker's time is over. Times in seconds since the epoch; `up_since` None: it is not up yet."""
    die_after = script.rules_for(node_type).die_after
    return die_after is not None and up_since is not None and now - up_since >= die_after
