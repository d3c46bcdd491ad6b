"""Kinds of values in the tasks of requests, with their bounds."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from fedescc.common.names import SITE_NAME
from fedescc.common.shortcut import MAX_EMBEDDING

_MOST_PATIENTS = 10**9
_MOST_ROUNDS = 100_000  # as in a federation file
_MOST_PARAMETERS = 2**31
_LARGEST = 1e12  # a coefficient beyond it leaves no sum that could be answered
_MOST_PARTS = 50_000  # keys and items of one encoding: several hundred columns of quantiles


def _ascending(values: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(values)):
        msg = "edges must ascend"
        raise ValueError(msg)
    return values


def _different(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        msg = "names must differ"
        raise ValueError(msg)
    return values


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    """Else each of a million unknown keys becomes an error of its own where the mapping is read."""
    parts, level = 0, [value]
    while level:
        parts += len(level)
        if parts > _MOST_PARTS:
            msg = "too many keys and items"
            raise ValueError(msg)
        level = [inner for item in level for inner in _inside(item)]
    return value


def _inside(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


Run = Annotated[str, Field(pattern=r"^[0-9a-z]{1,64}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=60)]
Names = Annotated[list[Name], AfterValidator(_different)]
Site = Annotated[str, Field(pattern=f"^{SITE_NAME.pattern}$")]
Mapping = Annotated[dict[str, Any], AfterValidator(_bounded)]
Real = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Edges = Annotated[list[Real], Field(min_length=1, max_length=1000), AfterValidator(_ascending)]
FineEdges = Annotated[list[Real], Field(min_length=1, max_length=4000), AfterValidator(_ascending)]
Declared = Annotated[list[Digest], Field(min_length=1, max_length=100)]
Size = Annotated[int, Field(ge=1, le=_MOST_PARAMETERS)]
Vector = Annotated[list[Real], Field(max_length=MAX_EMBEDDING)]
Counts = Annotated[list[Annotated[int, Field(ge=0, le=_MOST_PATIENTS)]], Field(min_length=1, max_length=1001)]
Round = Annotated[int, Field(ge=1, le=_MOST_ROUNDS)]
