"""One target under the fuzzer, in a process of its own: `python -m tests.fuzz.one NAME [libFuzzer's arguments]`.

It ends at the first input for which the law does not hold, which libFuzzer leaves as a file `crash-...`.
"""

import random
import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["cloister"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.law import obey
from tests.fuzz.mutate import mutated

__all__ = ["main"]

DOCUMENTS = 0.5
"""How often a document is changed as a document."""


def main(name: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer has had enough."""
    readers = TARGETS[name]

    def one_input(data: bytes) -> None:
        for reader in readers:
            obey(reader, data)

    atheris.Setup([name, *arguments], one_input, custom_mutator=mutation)
    atheris.Fuzz()


def mutation(data: bytes, longest: int, seed: int) -> bytes:
    """Every other time a change to the document, if it is one; else to its bytes, as libFuzzer does it."""
    chance = random.Random(seed)  # noqa: S311 - repeatable is what it must be
    made = mutated(data, chance) if chance.random() < DOCUMENTS else None
    if made is None or len(made) > longest:
        made = atheris.Mutate(data, longest)
    return bytes(made)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
