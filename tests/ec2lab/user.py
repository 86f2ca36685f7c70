"""Somebody at the lab's laptop: runs elastic-deploy there, reads what it says, and asks the model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ec2lab.commands import Done
from tests.ec2lab.lab import Lab

ENGINE = 400.0
"""Seconds for hosts, their setup and an engine's start, on a busy machine."""


@dataclass(frozen=True)
class User:
    """A user with a home and a YAML of the cluster `cluster`."""

    lab: Lab
    home: Path
    path: str
    cluster: str

    def run(self, *arguments: str, limit: float = 120.0) -> Done:
        """An elastic-deploy command to its end."""
        return self.lab.run(["elastic-deploy", *arguments], limit, {"HOME": str(self.home)})

    def up(self, *shape: str) -> Done:
        """Bring the tiny model up."""
        return self.run("up", self.path, "--model", "tiny", *shape, "--yes", limit=ENGINE)

    def status(self) -> dict[str, Any]:
        """The status document."""
        document: dict[str, Any] = json.loads(self.run("status", self.path, "-o", "json").check().stdout)
        return document

    def events(self) -> list[dict[str, Any]]:
        """The journal."""
        document: list[dict[str, Any]] = json.loads(self.run("events", self.path, "-o", "json").check().stdout)
        return document

    def deployment(self) -> dict[str, Any]:
        """The one deployment's part of the status document."""
        (deployment,) = self.status()["deployments"]
        return dict(deployment)

    @property
    def key_file(self) -> Path:
        """Where the key is that clients send."""
        return self.home / ".elastic-deploy" / self.cluster / "keys" / "tiny"

    @property
    def key(self) -> str:
        """The key that clients send."""
        return self.key_file.read_text().strip()

    def ask(self, limit: float = 60.0) -> str:
        """What the model answers, asked from the laptop at the address that `status` names."""
        header = self.home / "header"  # curl reads it from a file: an argument could be seen by everybody
        header.write_text(f"Authorization: Bearer {self.key}\n")
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0}
        flags = [
            "-sS",
            "--fail-with-body",
            "-m",
            str(limit),
            "-H",
            f"@{header}",
            "-H",
            "Content-Type: application/json",
        ]
        url = f"{self.deployment()['endpoint']}/chat/completions"
        said = self.lab.run(["curl", *flags, "-d", json.dumps(body), url], limit + 10)
        header.unlink()
        return str(json.loads(said.check().stdout)["choices"][0]["message"]["content"])
