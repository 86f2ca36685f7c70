"""Which quota an EC2 instance counts against: vCPUs, by family and by market. Pure.

Source of the codes: "Amazon EC2 instance type quotas" of the EC2 user guide and Service Quotas' own list for `ec2`.
A spot quota that is not listed (P5 and later) is unknown, not none.
"""

import re

_ON_DEMAND = {"g": "L-DB2E81BA", "vt": "L-DB2E81BA", "gr": "L-DB2E81BA", "p": "L-417A185B"}
_SPOT = {"g": "L-3819A6DF", "vt": "L-3819A6DF", "gr": "L-3819A6DF", "p": "L-7212CCBC"}
_STANDARD = ("a", "c", "d", "h", "i", "m", "r", "t", "z")
_STANDARD_ON_DEMAND, _STANDARD_SPOT = "L-1216C47A", "L-34B43A08"

NAMES = {
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-417A185B": "Running On-Demand P instances",
    "L-1216C47A": "Running On-Demand Standard instances",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-34B43A08": "All Standard Spot Instance Requests",
}


def quota_code(instance_type: str, *, spot: bool) -> str | None:
    """The quota's code; None where it is not known here."""
    found = re.match(r"([a-z]+)(\d+)", instance_type)
    if found is None:
        return None
    letters, generation = found[1], int(found[2])
    if letters in _ON_DEMAND:
        if spot and letters == "p" and generation > 4:
            return None
        return (_SPOT if spot else _ON_DEMAND)[letters]
    # im, is, hpc, inf, trn, dl and u have letters of their own; of these only im and is are standard.
    if letters in (*_STANDARD, "im", "is"):
        return _STANDARD_SPOT if spot else _STANDARD_ON_DEMAND
    return None
