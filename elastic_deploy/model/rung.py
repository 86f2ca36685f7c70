"""Rungs: the smaller shapes in which a deployment may serve, and how a user writes one down."""

import shlex
from dataclasses import dataclass

from elastic_deploy.model.shape import Shape


@dataclass(frozen=True, slots=True)
class Rung:
    """A smaller shape, and what vLLM is given there after its other arguments: the last of several options holds."""

    shape: Shape
    arguments: tuple[str, ...] = ()

    @property
    def gpus(self) -> int:
        """GPUs of the rung: it has one replica."""
        return self.shape.gpus


@dataclass(frozen=True, slots=True)
class ListedRung:
    """A rung as the user lists it: on so many GPUs, with these arguments of vLLM's beside."""

    gpus: int
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.gpus}: {shlex.join(self.arguments)}"


def parse_rung(text: str) -> ListedRung:
    """The rung that `GPUS: ARGUMENTS` lists. Raises ValueError with the reason."""
    written, colon, rest = text.partition(":")
    form = f"{text!r} is no rung: write GPUS: ARGUMENTS, such as '2: --max-model-len 8192'"
    if not colon or not written.strip().isdecimal() or int(written) < 1:
        raise ValueError(form)
    try:
        arguments = tuple(shlex.split(rest))
    except ValueError as error:
        raise ValueError(f"{form} ({error})") from error
    if not arguments or not arguments[0].startswith("-"):
        raise ValueError(form)
    return ListedRung(int(written), arguments)
