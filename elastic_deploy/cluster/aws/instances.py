"""What EC2 instance types with NVIDIA GPUs have beside their GPUs' number and memory, for files written offline.

Source: EC2's DescribeInstanceTypes, as recorded in moto 5.2.5 and compared with it by a test. With credentials EC2
itself is asked (`cluster.aws.lookup`), and its answer is read by `read_instance` here. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elastic_deploy.cluster.aws_gpus import instance_gpus

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Instance:
    """An EC2 instance type. `nvme_gb` is its own disks together, in GB; `efa` the interfaces that speak EFA."""

    type: str
    gpu: str
    gpus: int
    gpu_memory_bytes: int
    vcpus: int
    memory_gib: int
    nvme_gb: int
    arch: str
    efa: int
    network_cards: int

    @property
    def all_gpu_memory_gib(self) -> int:
        """The memory of all its GPUs, in GiB, rounded up."""
        return -(-self.gpus * self.gpu_memory_bytes // _GIB)


# vCPUs, GiB of memory, GB of own NVMe, EFA interfaces, network cards.
_FAMILIES: dict[str, tuple[str, str, dict[str, tuple[int, int, int, int, int]]]] = {
    "g4dn": (
        "T4",
        "x86_64",
        {
            "xlarge": (4, 16, 125, 0, 1),
            "2xlarge": (8, 32, 225, 0, 1),
            "4xlarge": (16, 64, 225, 0, 1),
            "8xlarge": (32, 128, 900, 1, 1),
            "12xlarge": (48, 192, 900, 1, 1),
            "16xlarge": (64, 256, 900, 1, 1),
            "metal": (96, 384, 1800, 1, 1),
        },
    ),
    "g5": (
        "A10G",
        "x86_64",
        {
            "xlarge": (4, 16, 250, 0, 1),
            "2xlarge": (8, 32, 450, 0, 1),
            "4xlarge": (16, 64, 600, 0, 1),
            "8xlarge": (32, 128, 900, 1, 1),
            "12xlarge": (48, 192, 3800, 1, 1),
            "16xlarge": (64, 256, 1900, 1, 1),
            "24xlarge": (96, 384, 3800, 1, 1),
            "48xlarge": (192, 768, 7600, 1, 1),
        },
    ),
    "g5g": (
        "T4g",
        "arm64",
        {
            "xlarge": (4, 8, 0, 0, 1),
            "2xlarge": (8, 16, 0, 0, 1),
            "4xlarge": (16, 32, 0, 0, 1),
            "8xlarge": (32, 64, 0, 0, 1),
            "16xlarge": (64, 128, 0, 0, 1),
            "metal": (64, 128, 0, 0, 1),
        },
    ),
    "g6": (
        "L4",
        "x86_64",
        {
            "xlarge": (4, 16, 250, 0, 1),
            "2xlarge": (8, 32, 450, 0, 1),
            "4xlarge": (16, 64, 600, 0, 1),
            "8xlarge": (32, 128, 900, 1, 1),
            "12xlarge": (48, 192, 3760, 1, 1),
            "16xlarge": (64, 256, 1880, 1, 1),
            "24xlarge": (96, 384, 3760, 1, 1),
            "48xlarge": (192, 768, 7520, 1, 1),
        },
    ),
    "g6e": (
        "L40S",
        "x86_64",
        {
            "xlarge": (4, 32, 250, 0, 1),
            "2xlarge": (8, 64, 450, 0, 1),
            "4xlarge": (16, 128, 600, 0, 1),
            "8xlarge": (32, 256, 900, 1, 1),
            "12xlarge": (48, 384, 3800, 1, 1),
            "16xlarge": (64, 512, 1900, 1, 1),
            "24xlarge": (96, 768, 3800, 2, 2),
            "48xlarge": (192, 1536, 7600, 4, 4),
        },
    ),
    "g6f": (
        "L4",
        "x86_64",
        {
            "large": (2, 8, 100, 0, 1),
            "xlarge": (4, 16, 100, 0, 1),
            "2xlarge": (8, 32, 200, 0, 1),
            "4xlarge": (16, 64, 450, 0, 1),
        },
    ),
    "g7": (
        "RTX PRO 4500",
        "x86_64",
        {
            "2xlarge": (8, 32, 440, 0, 1),
            "4xlarge": (16, 64, 875, 0, 1),
            "8xlarge": (32, 128, 930, 1, 1),
            "12xlarge": (48, 192, 1900, 1, 1),
            "24xlarge": (96, 384, 3800, 1, 1),
            "48xlarge": (192, 768, 7600, 2, 2),
        },
    ),
    "g7e": (
        "RTX PRO Server 6000",
        "x86_64",
        {
            "2xlarge": (8, 64, 1900, 0, 1),
            "4xlarge": (16, 128, 1900, 0, 1),
            "8xlarge": (32, 256, 1900, 1, 1),
            "12xlarge": (48, 512, 3800, 1, 1),
            "24xlarge": (96, 1024, 7600, 2, 2),
            "48xlarge": (192, 2048, 15200, 4, 4),
        },
    ),
    "gr6": (
        "L4",
        "x86_64",
        {
            "4xlarge": (16, 128, 600, 0, 1),
            "8xlarge": (32, 256, 900, 1, 1),
        },
    ),
    "gr6f": (
        "L4",
        "x86_64",
        {
            "4xlarge": (16, 128, 450, 0, 1),
        },
    ),
    "p3dn": (
        "V100",
        "x86_64",
        {
            "24xlarge": (96, 768, 1800, 1, 1),
        },
    ),
    "p4d": (
        "A100",
        "x86_64",
        {
            "24xlarge": (96, 1152, 8000, 4, 4),
        },
    ),
    "p4de": (
        "A100",
        "x86_64",
        {
            "24xlarge": (96, 1152, 8000, 4, 4),
        },
    ),
    "p5": (
        "H100",
        "x86_64",
        {
            "4xlarge": (16, 256, 3800, 1, 1),
            "48xlarge": (192, 2048, 30400, 32, 32),
        },
    ),
    "p5e": (
        "H200",
        "x86_64",
        {
            "48xlarge": (192, 2048, 30400, 32, 32),
        },
    ),
    "p5en": (
        "H200",
        "x86_64",
        {
            "48xlarge": (192, 2048, 30400, 16, 16),
        },
    ),
    "p6-b200": (
        "B200",
        "x86_64",
        {
            "48xlarge": (192, 2048, 30400, 8, 8),
        },
    ),
    "p6-b300": (
        "B300",
        "x86_64",
        {
            "48xlarge": (192, 4096, 30400, 16, 17),
        },
    ),
}


def known_instance(instance_type: str) -> Instance | None:
    """What the table says of an instance type; None where it is not listed."""
    family, _, size = instance_type.partition(".")
    gpus = instance_gpus(instance_type)
    if family not in _FAMILIES or size not in _FAMILIES[family][2] or gpus is None:
        return None
    gpu, arch, sizes = _FAMILIES[family]
    vcpus, memory, nvme, efa, cards = sizes[size]
    return Instance(instance_type, gpu, gpus.count, gpus.memory_bytes, vcpus, memory, nvme, arch, efa, cards)


def known_instances() -> list[Instance]:
    """Every instance type of the table."""
    names = [f"{family}.{size}" for family, (_, _, sizes) in _FAMILIES.items() for size in sizes]
    return [each for each in map(known_instance, names) if each is not None]


def read_instance(facts: Mapping[str, Any]) -> Instance:
    """One element of DescribeInstanceTypes' answer. Without NVIDIA GPUs it has none."""
    gpus = facts.get("GpuInfo", {}).get("Gpus", [])
    gpu: Mapping[str, Any] = next((each for each in gpus if each.get("Manufacturer") == "NVIDIA"), {})
    count = int(gpu.get("Count", 0))
    network = facts.get("NetworkInfo", {})
    return Instance(
        type=facts["InstanceType"],
        gpu=gpu.get("Name", ""),
        gpus=count,
        gpu_memory_bytes=gpu["MemoryInfo"]["SizeInMiB"] * 2**20 if count else 0,
        vcpus=facts["VCpuInfo"]["DefaultVCpus"],
        memory_gib=facts["MemoryInfo"]["SizeInMiB"] // 1024,
        nvme_gb=facts.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        arch=facts["ProcessorInfo"]["SupportedArchitectures"][0],
        efa=network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        network_cards=network.get("MaximumNetworkCards", 1),
    )


def smallest_with(gpu: str, count: int, among: list[Instance]) -> Instance | None:
    """The smallest instance with `count` GPUs of that kind whose own memory holds what the GPUs hold, if there is one.

    Weights pass through the host's memory on their way to the GPUs; where it is smaller, loading reads the disk twice.
    """
    fitting = [each for each in among if each.gpus == count and _same(each.gpu, gpu)]
    roomy = [each for each in fitting if each.memory_gib >= each.all_gpu_memory_gib]
    return min(
        roomy or fitting,
        key=lambda each: (each.vcpus, each.memory_gib, each.gpu_memory_bytes, each.type),
        default=None,
    )


def counts_of(gpu: str, among: list[Instance]) -> list[int]:
    """How many GPUs of that kind instances have: empty where no instance has any."""
    return sorted({each.gpus for each in among if each.gpus and _same(each.gpu, gpu)})


def _same(one: str, other: str) -> bool:
    return _bare(one) == _bare(other)


def _bare(gpu: str) -> str:
    return "".join(letter for letter in gpu.upper().removeprefix("NVIDIA") if letter.isalnum())
