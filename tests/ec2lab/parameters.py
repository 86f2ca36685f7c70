"""AWS's own public parameters in moto, which, like AWS, lets nobody write them through the API."""

from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ssm.models import Parameter, ssm_backends


def publish(region: str, name: str, value: str) -> None:
    """Let a region's parameter have this value, such as an image's id."""
    unsaid: dict[str, Any] = {"description": None, "allowed_pattern": None, "keyid": None, "last_modified_date": 0}
    parameter = Parameter(
        account_id=DEFAULT_ACCOUNT_ID,
        name=name,
        value=value,
        parameter_type="String",
        version=1,
        data_type="aws:ec2:image",
        **unsaid,
    )
    ssm_backends[DEFAULT_ACCOUNT_ID][region]._parameters[name].append(parameter)
