"""Clients for the account that a cluster YAML names, and what a refusal of it says.

Used by what looks for a cluster's remains and by what removes them. Imports boto3 only when a client is made.
"""

from typing import Any

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.errors import RefusedError

TRANSIENT = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "InternalError", "InternalFailure", "Unavailable",
     "ServiceUnavailable", "RequestTimeout"}
)  # fmt: skip
"""Codes by which EC2 says that the same question may well be answered in a moment."""

_NO_RIGHT = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")


def region_of(config: ClusterConfig) -> str:
    """The region in which all nodes of the cluster stand: Ray knows one a cluster."""
    return str(config.raw["provider"]["region"])


def client(config: ClusterConfig, service: str) -> Any:
    """A client for the cluster's region, with the YAML's own credentials where it has some, as Ray does."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    patience = Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 5, "mode": "standard"})
    credentials = config.raw["provider"].get("aws_credentials") or {}
    try:
        return boto3.Session().client(service, region_name=region_of(config), config=patience, **credentials)
    except BotoCoreError as error:
        raise RefusedError(f"AWS cannot be asked about {config.name}: {words(error)}") from error


def unreached() -> tuple[type[Exception], ...]:
    """What is raised where AWS was not reached, or what answered is not AWS: a proxy's page, a broken reply."""
    from botocore.exceptions import BotoCoreError
    from botocore.parsers import ResponseParserError

    return BotoCoreError, ResponseParserError


def code_of(error: Exception) -> str:
    """AWS's code for a refusal, empty where AWS was not even reached."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def words(error: Exception) -> str:
    """A refusal for a person: AWS's code and text, or what kept it from being asked, with the mend where it is known.

    A sentence that ends with a full stop.
    """
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"):
        text = f"{' '.join(str(error).split()).rstrip('.')}. Set AWS_PROFILE, or run `aws configure` or `aws sso login`"
    elif code := code_of(error):
        message = str(getattr(error, "response", {})["Error"].get("Message", ""))
        text = f"{code}: {' '.join(message.split())}"
        if code in _NO_RIGHT:
            text += f". Whoever runs this needs the right to {getattr(error, 'operation_name', 'do this')}"
    else:
        text = " ".join(str(error).split())
    return f"{text.rstrip('.')}."
