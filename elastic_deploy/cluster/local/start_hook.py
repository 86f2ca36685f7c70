"""What every `ray start` on a local node is made to do: Ray calls `apply` by the environment variable RAY_START_HOOK.

Ray 2.60 has no option for these (scripts/scripts.py, `start`), and the hook is its own way to set them:
- Everything listens on the loopback interface alone. `--node-ip-address=127.0.0.1` does not do: Ray takes it for
  "find my address" and listens on every interface.
- Each node keeps its session in a temporary directory of its own, so that its logs are its own and go with it. A
  worker would use the head's.
- No Ray Client server, whose port 10001 would be the same for every cluster of the machine.
"""

import os
from typing import Any

from elastic_deploy.cluster.local.state import own_node

LOOPBACK = "127.0.0.1"


def apply(ray_params: Any, head: bool) -> None:  # noqa: ARG001 (Ray's signature)
    """Change the parameters (`ray._private.parameter.RayParams`) of a `ray start` on a node."""
    here = own_node()
    ray_params.node_ip_address = LOOPBACK
    ray_params.node_name = here[1] if here else LOOPBACK
    ray_params.temp_dir = os.path.join(os.environ["RAY_TMPDIR"], "ray")  # noqa: PTH118
    ray_params.ray_client_server_port = None
