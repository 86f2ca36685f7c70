"""Where the supervisor and its companions keep things on the head: one directory, this user's alone.

It belongs to the user that runs Ray on the head. Nothing here leaves it but through the agent.
"""

from pathlib import Path

from elastic_deploy.model.home import private_dir


def head_dir() -> Path:
    """`~/.elastic-deploy/head` of the user that runs Ray, made if absent."""
    return private_dir(Path.home() / ".elastic-deploy" / "head")


def engine_log(deployment: str, replica: str, generation: int) -> Path:
    """The log of one engine, on the node where it runs."""
    return private_dir(Path.home() / ".elastic-deploy" / "engines") / f"{deployment}-{replica}-g{generation}.log"
