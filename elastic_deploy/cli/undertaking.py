"""What an `up` has begun, and what becomes of it when `up` is given up: said, and kept or removed.

Called by `up` on Ctrl-C and when a deployment has failed.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic_deploy.cli import removal
from elastic_deploy.cli.follow import find_deployment
from elastic_deploy.cli.render import count
from elastic_deploy.cli.terminal import ask, note, say
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.head import find_head
from elastic_deploy.cluster.teardown import down_in_words, find, standing
from elastic_deploy.model.errors import UserError
from elastic_deploy.model.phase import Phase

_LISTED_LATE_S = 3.0
"""EC2 may list a launch so much after it has been asked for it."""


@dataclass(slots=True)
class Undertaking:
    """How far `up` has come. `launched`: it began to launch the cluster; `applied`: it handed the deployment over."""

    path: Path
    config: ClusterConfig
    deployment: str
    launched: bool = False
    applied: bool = False

    def describe(self) -> list[str]:
        """What stands now, a sentence each. Never raises for a head that does not answer: that is said too."""
        if not self.launched and not self.applied:
            return ["Nothing was changed."]
        said = self._by_the_cloud() if self.config.provider_kind == "aws" else []
        if said and not self.applied:
            return said
        try:
            head = find_head(self.config)
            document = head.call("status", timeout=10) if head else None
        except UserError as error:
            return [*said, f"Cluster {self.config.name} may stand, and cannot be asked: {error.message}"]
        if document is None:
            nodes = standing(self.config).nodes
            if not nodes and self.config.provider_kind == "local":
                self.launched = False
                return [f"Nothing of cluster {self.config.name} stands."]
            made = f"node {' and '.join(nodes)} stands" if nodes else "a head node may stand"
            return said or [f"The launch of cluster {self.config.name} is not finished: {made}."]
        return [*said, *_sentences(self.config.name, document, self.deployment)]

    def _by_the_cloud(self) -> list[str]:
        """What stands by the account's own answer, without a head: an `up` that is given up may have made only half."""
        try:
            found = find(self.config)
            if not found.anything:
                time.sleep(_LISTED_LATE_S)
                found = find(self.config)
        except UserError as error:
            return [f"Cluster {self.config.name} may stand, and cannot be asked: {error.message}"]
        if not found.anything:
            self.launched = self.applied = False
        unfinished = self.launched and not self.applied
        begun = [f"The launch of cluster {self.config.name} is not finished."] if unfinished else []
        return [*begun, *found.sentences]

    def how_to_remove(self) -> str:
        """The command that removes what this `up` began."""
        return f"elastic-deploy down {self.path}" + ("" if self.launched else f" --deployment {self.deployment}")

    def leave(self, *, remove: bool, asking: bool = True) -> None:
        """Say what stands and how to remove it, and do so if told to, or if `asking` and the person wants it."""
        for sentence in self.describe():
            note(sentence)
        if not self.launched and not self.applied:
            return
        what = f"cluster {self.config.name}" if self.launched else f"deployment {self.deployment}"
        if not remove:
            note(f"It stays as it is. To look at it: elastic-deploy status {self.path}")
            note(f"To remove it: {self.how_to_remove()}")
            remove = asking and ask(f"Take down {what} now, which this command started?", default=False)
        if remove:
            self._remove()

    def _remove(self) -> None:
        try:
            if self.launched:
                removal.take_down(self.config, say)
                note(down_in_words(self.config))
            elif head := find_head(self.config):
                removal.stop(head, self.deployment, say)
                note(f"{self.deployment} is stopped; cluster {self.config.name} stays as it was before.")
        except (UserError, KeyboardInterrupt) as error:
            note(f"It could not be removed ({str(error) or 'interrupted'}). To try again: {self.how_to_remove()}")


def _sentences(cluster: str, document: dict[str, Any], name: str) -> list[str]:
    nodes = document["cluster"]["nodes"]
    present = [node["id"] for node in nodes if node["state"] not in ("dead", "asked")]
    sentences = [f"Cluster {cluster} stands, with {count(len(present), 'node')}: {', '.join(present)}."]
    asked = sum(bundle["count"] for bundle in document["request"]["bundles"])
    sentences.append(
        f"Its autoscaler is asked for {count(asked, 'GPU')}."
        if asked
        else "Its autoscaler is asked for nothing any more."
    )
    if deployment := find_deployment(document, name):
        # A failure's reason has been said already.
        reason = "" if deployment["phase"] == Phase.FAILED else f": {deployment['reason']}"
        sentences.append(f"Deployment {name} is {deployment['phase']}{reason or '.'}")
    return sentences
