"""The account's limits on vCPUs, as the service-quotas API tells them: what a launch is held to is what it shows.

moto knows the limits of VPCs only. Codes and names are those of Amazon's console for EC2.
"""

from collections.abc import Callable, Mapping
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

UNLIMITED = 100_000.0  # what is shown of a limit that is not set
QUOTAS = {
    "L-1216C47A": (("on-demand", "standard"), "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    "L-DB2E81BA": (("on-demand", "g"), "Running On-Demand G and VT instances"),
    "L-417A185B": (("on-demand", "p"), "Running On-Demand P instances"),
    "L-34B43A08": (("spot", "standard"), "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    "L-3819A6DF": (("spot", "g"), "All G and VT Spot Instance Requests"),
    "L-7212CCBC": (("spot", "p"), "All P Spot Instance Requests"),
}


def install(region: str, limits: Callable[[], Mapping[tuple[str, str], int]]) -> None:
    """Let moto's GetServiceQuota answer for EC2 as well, from `limits`, in this process, from now on."""
    backend: Any = get_backend("service-quotas")[DEFAULT_ACCOUNT_ID][region]
    motos = backend.get_service_quota

    def get_service_quota(service_code: str, quota_code: str) -> dict[str, Any]:
        if service_code != "ec2" or quota_code not in QUOTAS:
            return dict(motos(service_code, quota_code))
        key, name = QUOTAS[quota_code]
        return {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": f"arn:aws:servicequotas:{region}:{DEFAULT_ACCOUNT_ID}:ec2/{quota_code}",
            "QuotaCode": quota_code,
            "QuotaName": name,
            "Value": float(limits().get(key, UNLIMITED)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }

    backend.get_service_quota = get_service_quota
