"""GPUs of EC2 instance types, for cluster YAMLs that leave `resources` to Ray, which asks EC2 at launch.

Called by `cluster.capacity`, so that a plan needs no cloud. Source: `GpuInfo` of EC2's DescribeInstanceTypes (count,
and MiB of one GPU), as recorded in moto 5.2.5 and compared with it by a test. What is not listed is unknown, not zero.
"""

import re
from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class InstanceGpus:
    """GPUs of one instance, and the memory of one of them."""

    count: int
    memory_bytes: int


_G4DN = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "12xlarge": 4, "16xlarge": 1, "metal": 8}
_G5 = {
    "xlarge": 1,
    "2xlarge": 1,
    "4xlarge": 1,
    "8xlarge": 1,
    "12xlarge": 4,
    "16xlarge": 1,
    "24xlarge": 4,
    "48xlarge": 8,
}
_G5G = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 2, "metal": 2}
_G7 = {"2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "12xlarge": 2, "24xlarge": 4, "48xlarge": 8}

_FAMILIES: dict[str, tuple[int, dict[str, int]]] = {
    "g4dn": (16384, _G4DN),
    "g5": (22888, _G5),
    "g5g": (16384, _G5G),
    "g6": (22888, _G5),
    "g6e": (45776, _G5),
    "g7": (32768, _G7),
    "g7e": (98304, _G7),
    "gr6": (22888, {"4xlarge": 1, "8xlarge": 1}),
    # A part of a GPU: EC2 counts none, and so does Ray.
    "g6f": (0, {"large": 0, "xlarge": 0, "2xlarge": 0, "4xlarge": 0}),
    "gr6f": (0, {"4xlarge": 0}),
    "p3dn": (32768, {"24xlarge": 8}),
    "p4d": (40960, {"24xlarge": 8}),
    "p4de": (81920, {"24xlarge": 8}),
    "p5": (81920, {"4xlarge": 1, "48xlarge": 8}),
    "p5e": (144384, {"48xlarge": 8}),
    "p5en": (144384, {"48xlarge": 8}),
    "p6-b200": (183359, {"48xlarge": 8}),
    "p6-b300": (275040, {"48xlarge": 8}),
}

_GPU_FAMILY = re.compile(r"(g|gr|p)\d")
"""EC2's names of families with GPUs: graphics and parallel. inf, trn, dl and vt hold other accelerators."""


def instance_gpus(instance_type: str) -> InstanceGpus | None:
    """GPUs of an EC2 instance type (`g5.12xlarge`); None where it may have some and how many is not known here."""
    family, _, size = instance_type.partition(".")
    memory, sizes = _FAMILIES.get(family, (0, {}))
    if size in sizes:
        return InstanceGpus(sizes[size], memory * _MIB)
    return None if _GPU_FAMILY.match(family) else InstanceGpus(0, 0)
