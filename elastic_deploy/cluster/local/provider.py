"""The node provider of a cluster whose nodes are local processes: `provider: {type: external, module: <this class>}`.

Made by Ray, in `ray up`, `ray exec`, `ray down` and our own commands, and again in the autoscaler (v2) on the head:
two or more of them work on one cluster at a time, each from several threads. It keeps nothing; all is on disk
(`state`). It must not block: Ray's autoscaler calls it in its loop.

Settings in the `provider` section, beside `type` and `module`:
    rehearsal: true           # tell vLLM's rehearsal platform on the nodes to serve without GPUs
    rehearsal_script: {...}   # see `script`
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from elastic_deploy.cluster.local import nodes
from elastic_deploy.cluster.local.runner import LocalCommandRunner
from elastic_deploy.cluster.local.script import Script, parse
from elastic_deploy.cluster.local.start_hook import LOOPBACK
from elastic_deploy.cluster.local.state import Node, own_node, read, state_dir
from elastic_deploy.model.errors import InvalidConfigError, RefusedError


class LocalNodeProvider(NodeProvider):  # type: ignore[misc]  # Ray has no type stubs
    """Nodes as local processes. Safe between threads and between processes."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._name = cluster_name
        self._script_path = state_dir(cluster_name) / "script.json"
        self._script = parse(provider_config.get("rehearsal_script"), "the cluster YAML")

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Check the settings before anything is launched. Raises InvalidConfigError."""
        parse(cluster_config["provider"].get("rehearsal_script"), "the cluster YAML")
        return cluster_config

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The ids of the nodes that live and carry the tags."""
        found = nodes.look(self._name, self._script_now())
        return [node.id for node in found.values() if _carries(node, tag_filters)]

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        """The same with those that are being ended: `ray down` waits until they are gone."""
        nodes.look(self._name, self._script_now())
        self._forget_config_cache()
        state = read(self._name)
        return [node.id for node in state.nodes.values() if _carries(node, tag_filters)] if state else []

    def is_running(self, node_id: str) -> bool:
        """Whether the node lives and its launch delay is over."""
        node = self._node(node_id)
        return node is not None and node.is_live() and time.time() >= node.ready_at

    def is_terminated(self, node_id: str) -> bool:
        """Whether the node is dead, gone or being ended."""
        node = self._node(node_id)
        return node is None or not node.is_live()

    def node_tags(self, node_id: str) -> dict[str, str]:
        """The node's tags; none where it is gone, which Ray may learn between two calls."""
        node = self._node(node_id)
        return dict(node.tags) if node else {}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Add to the node's tags; of no effect where it is gone."""
        nodes.change(self._name, node_id, lambda node: replace(node, tags={**node.tags, **tags}))

    def internal_ip(self, node_id: str) -> str:  # noqa: ARG002
        """The loopback address, of every node."""
        return LOOPBACK

    def external_ip(self, node_id: str) -> str:  # noqa: ARG002
        """The loopback address, of every node."""
        return LOOPBACK

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:  # noqa: ARG002
        """Launch `count` nodes of the type that the tags name.

        Raises NodeLaunchException with the code and the words of the rehearsal script where it refuses; of a launch
        that it grants in part, that part is there.
        """
        result = nodes.launch(
            self._name,
            tags[TAG_RAY_USER_NODE_TYPE],
            is_head=tags[TAG_RAY_NODE_KIND] == NODE_KIND_HEAD,
            tags=tags,
            count=count,
            script=self._script_now(),
            rehearsal=bool(self.provider_config.get("rehearsal", True)),
        )
        if result.refusal:
            raise NodeLaunchException(result.refusal.code, result.refusal.message, None)
        return {node.id: {} for node in result.nodes}

    def terminate_node(self, node_id: str) -> None:
        """End every process of the node, and wait for it."""
        nodes.end(self._name, node_id)
        self._forget_config_cache()

    def terminate_nodes(self, node_ids: list[str]) -> None:
        """End the nodes, all at a time; that of this process, if it is among them, after the others."""
        others = [node_id for node_id in node_ids if (self._name, node_id) != own_node()]
        with ThreadPoolExecutor(max_workers=max(1, len(others))) as pool:
            list(pool.map(lambda node_id: nodes.end(self._name, node_id), others))
        for own in set(node_ids) - set(others):
            nodes.end(self._name, own)
        self._forget_config_cache()

    def get_command_runner(
        self,
        log_prefix: str,  # noqa: ARG002
        node_id: str,
        auth_config: dict[str, Any],  # noqa: ARG002
        cluster_name: str,  # noqa: ARG002
        process_runner: ModuleType,  # noqa: ARG002
        use_internal_ip: bool,  # noqa: ARG002
        docker_config: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> LocalCommandRunner:
        """What runs commands on the node. Raises RefusedError where it is gone."""
        node = self._node(node_id)
        if node is None:
            raise RefusedError(f"Node {node_id} of cluster {self._name} is gone: no command can be run on it.")
        return LocalCommandRunner(node)

    def _node(self, node_id: str) -> Node | None:
        state = read(self._name)
        return state.nodes.get(node_id) if state else None

    def _script_now(self) -> Script:
        try:
            text = self._script_path.read_text()
        except (FileNotFoundError, NotADirectoryError):
            return self._script
        try:
            return parse(json.loads(text), str(self._script_path))
        except json.JSONDecodeError as error:
            raise InvalidConfigError(
                f"The rehearsal script {self._script_path} is not JSON ({error}): correct or remove it."
            ) from error

    def _forget_config_cache(self) -> None:
        """Once the cluster is gone, remove the copy of its YAML that Ray's launcher leaves in the machine's /tmp."""
        cache = self.provider_config.get("_config_cache_path")
        if cache and read(self._name) is None:
            Path(cache).unlink(missing_ok=True)


def _carries(node: Node, tags: Mapping[str, str]) -> bool:
    return all(node.tags.get(key) == value for key, value in tags.items())
