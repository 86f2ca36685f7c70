"""What a deployment's nodes cost an hour, and who says so: a flag, the YAML, AWS, or the table that we carry.

The first of these that names a node type has it. Called by `plan`, which asks nobody, and by `up`. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elastic_deploy.cluster.aws.prices import CAPTURED
from elastic_deploy.model.shape import NodeType

FLAG, YAML, AWS, TABLE = "--price", "the YAML", "AWS", f"the built-in table (on demand in US East, captured {CAPTURED})"


@dataclass(frozen=True, slots=True)
class PriceTold:
    """US dollars an hour of one node of a type, and where that is from."""

    node_type: str
    usd_per_hour: float
    source: str


def told(
    types: Sequence[NodeType],
    flags: Mapping[str, float],
    named: Mapping[str, float],
    asked: Mapping[str, float],
) -> tuple[PriceTold, ...]:
    """The price of each type for which one is known. `named` are those of flags and YAML together, `asked` AWS's."""
    known = []
    for each in types:
        if each.name in named:
            source = FLAG if each.name in flags else YAML
            known.append(PriceTold(each.name, named[each.name], source))
        elif each.name in asked:
            known.append(PriceTold(each.name, asked[each.name], AWS))
        elif each.usd_per_hour is not None:
            known.append(PriceTold(each.name, each.usd_per_hour, TABLE))
    return tuple(known)


def price_lines(prices: Sequence[PriceTold]) -> list[str]:
    """A clause for each source."""
    lines = []
    for source in dict.fromkeys(each.source for each in prices):
        each_of = ", ".join(f"{each.node_type} {each.usd_per_hour:g}" for each in prices if each.source == source)
        lines.append(f"{each_of} USD an hour, by {source}")
    return lines
