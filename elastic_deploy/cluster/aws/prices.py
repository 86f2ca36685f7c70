"""On-demand prices that a generated file's header may name, with their date and source; of the others it names none.

Prices change and differ between regions: this table is for an order of magnitude, never for a bill. Pure.
"""

CAPTURED = "between March and August 2026, from public snapshots of EC2's price list"
WHERE = "https://aws.amazon.com/ec2/pricing/on-demand/"
SPOT_WHERE = "https://aws.amazon.com/ec2/spot/pricing/"

_USD_PER_HOUR = {
    "m7i.xlarge": 0.2016,
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g5.12xlarge": 5.672,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.12xlarge": 4.6016,
    "g6e.xlarge": 1.861,
    "g6e.2xlarge": 2.24208,
    "g6e.12xlarge": 10.49264,
    "p4d.24xlarge": 21.957642,
    "p5.48xlarge": 55.04,
    "p5en.48xlarge": 63.296,
}
"""Linux, us-east-1 or us-east-2, where the snapshots agreed with each other."""


def usd_per_hour(instance_type: str) -> float | None:
    """The on-demand price of one instance in US East; None where it is not known here."""
    return _USD_PER_HOUR.get(instance_type)


def cost(instance_type: str, nodes: int, head_type: str) -> str:
    """What the cluster costs, in a sentence."""
    node, head = usd_per_hour(instance_type), usd_per_hour(head_type)
    if node is None or head is None:
        return (
            f"What it costs: {nodes} x {instance_type} while they are asked for, and {head_type} for the head all the"
            f" time. The prices are not known here: {WHERE}"
        )
    return (
        f"What it costs, on demand in US East (captured {CAPTURED}): {head:.2f} USD an hour for the head"
        f" ({head_type}), all the time, and {node:.2f} USD an hour for each {instance_type}, at the most"
        f" {head + nodes * node:.2f} together; disks and traffic are extra. Today's prices, and your region's: {WHERE}"
    )
