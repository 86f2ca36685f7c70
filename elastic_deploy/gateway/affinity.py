"""Which engines lately saw which prefixes, so that a prompt goes where its beginning is in the cache.

Used by `balance`, which lets it yield to load. It guesses: an engine's own cache may have forgotten, which costs
nothing but the guess. Links of `prefix` are seeded with the model; an engine serves one version for all its life.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from elastic_deploy.model.names import EngineName

MOST = 32_768
"""Blocks that are remembered, each of 512 characters: about the 4 million tokens that the caches of a few large engines
hold. Measured, they take 8 MiB; those looked up longest ago are forgotten first."""
KEPT = 4
"""Engines that are remembered for one block. More have the same beginning only where load has spread it, and then the
choice among four is as good."""


class Affinity:
    """What is remembered. Bounded by `most` blocks.

    Engines stand in it as numbers, which are never given twice: who forgets an engine's number has forgotten all that
    it saw, and the blocks themselves go when others come.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._numbers: dict[EngineName, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._seen)

    def favoured(self, prefix: Sequence[int], among: Iterable[EngineName]) -> tuple[int, Collection[EngineName]]:
        """How many of the prefix's blocks an engine of `among` saw, at most, and the engines that saw those."""
        names = {self._numbers[name]: name for name in among if name in self._numbers}
        for index in range(len(prefix) - 1, -1, -1):
            if (seen := self._seen.get(prefix[index])) and (here := [names[each] for each in seen if each in names]):
                return index + 1, here
        return 0, ()

    def note(self, prefix: Sequence[int], engine: EngineName) -> None:
        """A prompt that begins so goes to `engine` now."""
        number = self._numbers.get(engine)
        if number is None:
            number = self._numbers[engine] = self._next
            self._next += 1
        seen, alone = self._seen, (number,)
        for link in prefix:
            before = seen.get(link)
            if before is None:
                seen[link] = alone
                continue
            if before[-1] != number:
                seen[link] = (*(each for each in before if each != number), number)[-KEPT:]
            seen.move_to_end(link)
        while len(seen) > self._most:
            seen.popitem(last=False)

    def keep(self, engines: Collection[EngineName]) -> None:
        """Forget all engines but these: the others are gone from the table."""
        self._numbers = {name: number for name, number in self._numbers.items() if name in engines}
