"""What the supervisor must find again after it was killed: the specs, the memory and the ledger, in one file.

Written whole and renamed, so that there is always one complete state. It holds no secret.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from elastic_deploy.core.ledger import Ledger
from elastic_deploy.model.front_door import FrontDoorOptions
from elastic_deploy.model.home import write_private
from elastic_deploy.model.memory import Memory
from elastic_deploy.model.snapshot import NodeNotice
from elastic_deploy.model.spec import ClusterSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """All that survives. `session` is Ray's: in another one, no group and no engine of the old one is left.

    `port` and `door` are the front door's; `monitor_command` is the command line of the autoscaler's monitor, to start
    it again. `notices` are the cloud's about nodes: a node that Ray drains already cannot be asked again.
    """

    cluster: str = ""
    provider: str = ""
    session: str = ""
    port: int = 8000
    door: FrontDoorOptions = field(default_factory=FrontDoorOptions)
    spec: ClusterSpec = field(default_factory=ClusterSpec)
    memory: Memory = field(default_factory=Memory)
    ledger: Ledger = field(default_factory=Ledger)
    monitor_command: tuple[str, ...] = ()
    notices: tuple[NodeNotice, ...] = ()


_ADAPTER = TypeAdapter(State)


def save(path: Path, state: State) -> None:
    """Replace the file by this state. Raises OSError where the disk does not take it; the old state then stands."""
    write_private(path, _ADAPTER.dump_json(state).decode())


def load(path: Path) -> State | None:
    """The state on disk; None if there is none, or none that this version can read.

    One that cannot be read is kept beside as `<name>.unreadable`: it still says what was wanted.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        kept = path.with_name(f"{path.name}.unreadable")
        path.replace(kept)
        log.warning("the state cannot be read and is kept as %s: %s", kept, error)
        return None
