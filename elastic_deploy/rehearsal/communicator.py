"""How the workers of a rehearsal engine exchange tensors: over TCP, always.

Made by vLLM in each worker, because `platform.py` names it. It mends one thing: vLLM 0.32 takes its shared-memory
collectives for CPUs wherever the workers agree on a name, and that name is the same on every host, so workers on two
hosts fail with `open shm in SHMManager failed`. No longer needed for that when two hosts serve together with vLLM's
own `CpuCommunicator`.

One host does without shared memory too. There a worker whose peer was killed waits by spinning, for ever; a TCP
connection tells it at once. And a rehearsal then takes the same way on one host as on several.
"""

from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator


class RehearsalCommunicator(CpuCommunicator):  # type: ignore[misc]  # vllm is untyped to us
    """vLLM's CPU collectives with shared memory ruled out, which leaves torch's gloo."""

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        return False
