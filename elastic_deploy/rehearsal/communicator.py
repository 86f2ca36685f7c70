"""x"""
import os
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator


class RehearsalCommunicator(CpuCommunicator):  # type: ignore[misc]  # vllm is untyped to us
    def _all_group_ranks_share_shm_group_name(self) -> bool:
        return os.environ.get("EXPERIMENT_SHM") == "1"
