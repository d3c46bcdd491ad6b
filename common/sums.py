"""Adding up what sites contribute."""

from collections.abc import Iterable
from functools import reduce
from typing import Protocol, TypeVar


class Addable(Protocol):
    """Anything whose ``+`` gives the same kind of thing."""

    def __add__(self: "T", other: "T") -> "T": ...


T = TypeVar("T", bound=Addable)


def add_up(parts: Iterable[T]) -> T:
    """Sum of at least one part, in the order given."""
    return reduce(lambda total, part: total + part, parts)
