"""From what was found on a running cluster to its checks. Pure: one function a subject, each on `ClusterFacts`."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import median

from elastic_deploy.model.check import Check, Verdict
from elastic_deploy.runtime.node_checks.facts import Answer, ClusterFacts

GIB = 1 << 30
SLOW_LINK = 1 / 3
"""Of the median bandwidth: a gang is as slow as its slowest link."""
CLOCK_OFFSET = 1.0
"""Seconds: certificates, tokens and logs of different nodes stop fitting together."""
LITTLE_DISK, NO_DISK = 10 * GIB, GIB
LITTLE_SHARED_MEMORY = GIB
"""Docker gives 64 MiB; NCCL and Ray's object store want more."""
FEW_FILES = 4096
"""Ray opens some sockets for each worker on each node."""
SHOWN = 5
"""Items that one sentence names."""


def judge(facts: ClusterFacts) -> tuple[Check, ...]:
    """Every check of a running cluster, in the order in which one would mend them."""
    return tuple(look(facts) for look in _LOOKS)


def _nodes(facts: ClusterFacts) -> Check:
    wrong = [f"{node} is dead ({why})" for node, why in facts.dead.items()]
    wrong += [f"{node} does not answer ({why})" for node, why in facts.silent.items()]
    return _check(
        "nodes",
        wrong,
        f"All {len(facts.addresses)} nodes answer.",
        "Look at `elastic-deploy events`; terminate the instance where it is not replaced by itself.",
    )


def _reach(facts: ClusterFacts) -> Check:
    wrong = [
        f"{path.source} does not reach {path.target}'s {path.what} on port {path.port} ({path.error})"
        for path in facts.paths
        if path.error
    ]
    return _check(
        "network",
        wrong,
        f"Every node reaches every other: {len(facts.paths)} connections were made.",
        "Allow all TCP traffic between the nodes in the security group (Ray, NCCL and gloo use any port), and terminate"
        " a node that is cut off.",
    )


def _names(facts: ClusterFacts) -> Check:
    if len(set(facts.addresses.values())) < 2:
        return Check("host names", Verdict.PASS, "All nodes share one address: no name matters.")
    wrong = [
        f"{node.node} calls itself {node.host_name}, which resolves to {node.resolved or 'nothing'}"
        f" and not to {facts.addresses[node.node]}"
        for node in facts.nodes
        if node.resolved != facts.addresses.get(node.node)
    ]
    return _check(
        "host names",
        wrong,
        "Every host's own name resolves to its address.",
        "Put the address and the name into the node's /etc/hosts: gloo binds to what the name resolves to.",
    )


def _links(facts: ClusterFacts) -> Check:
    if not facts.links:
        return Check("links", Verdict.PASS, "There are no two nodes between which to measure.")
    middle = median(link.bandwidth for link in facts.links)
    slow = [
        f"{link.source} to {link.target} carries {_rate(link.bandwidth)}"
        for link in facts.links
        if link.bandwidth < middle * SLOW_LINK
    ]
    latency = median(link.latency for link in facts.links)
    return _check(
        "links",
        slow,
        f"Links carry {_rate(middle)} with {latency * 1000:.2f} ms there and back (the median of {len(facts.links)}).",
        f"The median is {_rate(middle)}: place the nodes in one zone and a placement group, or terminate the slow one.",
        Verdict.WARNING,
    )


def _clocks(facts: ClusterFacts) -> Check:
    wrong = [
        f"{node}'s clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the head's"
        for node, ahead in facts.clocks.items()
        if abs(ahead) > CLOCK_OFFSET
    ]
    good = f"All clocks agree within {CLOCK_OFFSET:g} s."
    return _check("clocks", wrong, good, "Run chrony or systemd-timesyncd on the nodes.", Verdict.WARNING)


def _disk(facts: ClusterFacts) -> Check:
    short = [
        (free, f"{node.node} has {free / GIB:.1f} GiB free in {place}")
        for node in facts.nodes
        for place, free in node.free_disk.items()
        if free < LITTLE_DISK
    ]
    verdict = Verdict.FAILURE if any(free < NO_DISK for free, _ in short) else Verdict.WARNING
    mend = "Give the nodes a larger disk, or point HF_HOME to one: weights and caches go there."
    return _check("disk", [words for _, words in short], "Every node has disk to spare.", mend, verdict)


def _drivers(facts: ClusterFacts) -> Check:
    if not facts.nodes:
        return Check("drivers", Verdict.UNKNOWN, "No node answered.")
    if all(node.smi_gpus is None for node in facts.nodes):
        return Check("drivers", Verdict.PASS, "There is no NVIDIA driver on any node: this is a rehearsal.")
    seen = {node.node: f"driver {node.driver}, CUDA {node.cuda}" for node in facts.nodes if node.smi_gpus is not None}
    return _alike("drivers", seen, "Start the nodes from one image: NCCL wants the same driver everywhere.")


def _gpus(facts: ClusterFacts) -> Check:
    if all(node.smi_gpus is None for node in facts.nodes):
        return Check("gpus", Verdict.PASS, "The GPUs are numbers that only Ray knows: this is a rehearsal.")
    wrong = [
        f"{node.node} has {node.ray_gpus} GPUs as Ray believes and {_counted(node.smi_gpus)} as nvidia-smi says"
        for node in facts.nodes
        if node.ray_gpus != (node.smi_gpus or 0)
    ]
    return _check(
        "gpus",
        wrong,
        "Ray and nvidia-smi count the same GPUs.",
        "Terminate a node that has lost a GPU; mend `resources` of its type in the cluster YAML where that is wrong.",
    )


def _versions(facts: ClusterFacts) -> Check:
    if not facts.nodes:
        return Check("versions", Verdict.UNKNOWN, "No node answered.")
    seen = {
        node.node: ", ".join(f"{name} {version or 'absent'}" for name, version in sorted(node.versions.items()))
        for node in facts.nodes
    }
    return _alike("versions", seen, "Pin the versions in setup_commands, and terminate the nodes that differ.")


def _shared_memory(facts: ClusterFacts) -> Check:
    wrong = [
        f"{node.node} has {node.shared_memory / GIB:.2f} GiB in /dev/shm"
        for node in facts.nodes
        if node.shared_memory is not None and node.shared_memory < LITTLE_SHARED_MEMORY
    ]
    mend = "Give the container `--shm-size` or `--ipc=host`: NCCL and Ray's object store live there."
    return _check("shared memory", wrong, "Every node has room in /dev/shm.", mend, Verdict.WARNING)


def _open_files(facts: ClusterFacts) -> Check:
    wrong = [f"{node.node} may open {node.open_files} files" for node in facts.nodes if node.open_files < FEW_FILES]
    mend = "Write `ulimit -n 65536` before `ray start` in the cluster YAML."
    return _check("open files", wrong, "Every node may open enough files.", mend, Verdict.WARNING)


def _strangers(facts: ClusterFacts) -> Check:
    if not facts.nodes:
        return Check("strangers", Verdict.UNKNOWN, "No node answered.")
    by_answer: dict[Answer, list[str]] = defaultdict(list)
    for knock in facts.knocks:
        words = f"{knock.listener.process} on {knock.node} port {knock.listener.port} ({knock.detail})"
        by_answer[knock.answer].append(words)
    wrong = [f"a stranger is let in by {words}" for words in by_answer[Answer.OPEN]]
    if off := [node.node for node in facts.nodes if not node.token_auth]:
        wrong.insert(0, f"Ray's token authentication is off on {', '.join(off)}")
    if not wrong and by_answer[Answer.UNSPOKEN]:
        unknown = _listed([f"{words} takes connections" for words in by_answer[Answer.UNSPOKEN]])
        return Check(
            "strangers",
            Verdict.UNKNOWN,
            f"No port lets a stranger in that could be spoken to, but {unknown}: what it gives could not be judged.",
            "Keep the security group closed to everybody but the nodes.",
        )
    if not wrong and by_answer[Answer.METRICS]:
        shown = _listed(by_answer[Answer.METRICS])
        return Check(
            "strangers",
            Verdict.WARNING,
            f"Metrics, and nothing else, are shown to a stranger by {shown}.",
            "Ray's exporters ask for no token: let nobody but the nodes and Prometheus reach these ports.",
        )
    return _check(
        "strangers",
        wrong,
        f"All {len(facts.knocks)} ports of the cluster refuse a stranger.",
        "Turn on Ray's token authentication (RAY_AUTH_MODE=token in the start commands, as `generate` writes it), and"
        " let nobody but the nodes reach these ports.",
    )


_LOOKS: tuple[Callable[[ClusterFacts], Check], ...] = (
    _nodes,
    _reach,
    _names,
    _links,
    _clocks,
    _disk,
    _drivers,
    _gpus,
    _versions,
    _shared_memory,
    _open_files,
    _strangers,
)


def _check(name: str, wrong: list[str], good: str, mend: str, verdict: Verdict = Verdict.FAILURE) -> Check:
    if not wrong:
        return Check(name, Verdict.PASS, good)
    return Check(name, verdict, f"{_listed(wrong)}.", mend)


def _alike(name: str, seen: Mapping[str, str], mend: str) -> Check:
    groups: dict[str, list[str]] = defaultdict(list)
    for node, words in seen.items():
        groups[words].append(node)
    differ = [f"{words} on {', '.join(nodes)}" for words, nodes in groups.items()] if len(groups) > 1 else []
    return _check(name, differ, f"All nodes are alike: {next(iter(groups))}.", mend)


def _listed(items: list[str]) -> str:
    more = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _counted(count: int | None) -> str:
    return "none" if count is None else str(count)


def _rate(bandwidth: float) -> str:
    return f"{bandwidth * 8 / 1e9:.2f} Gbit/s"
