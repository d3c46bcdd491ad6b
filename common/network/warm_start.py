"""Start from the weights of a local safetensors file: what fits by name and shape is taken, and all is told."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.arrays import (
    FlatParameters,
    Layout,
    join_parameters,
    load_safetensors,
    split_parameters,
)
from fedescc.common.errors import Refusal

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WarmStart:
    """Which tensors a start took from a file. All names are sorted.

    Attributes:
        loaded: name -> shape of what the model now has from the file.
        mismatched: name -> shape in the model, shape in the file; the model kept its own.
        missing: name -> shape of what the file lacks; the model kept its own.
        unused: name -> shape of what the model has no place for.
        file_sha256: of the file, once known.

    """

    loaded: dict[str, Shape]
    mismatched: dict[str, tuple[Shape, Shape]]
    missing: dict[str, Shape]
    unused: dict[str, Shape]
    file_sha256: str | None = None

    def summary(self) -> str:
        """One line for a person."""
        kept = {name: shape for name, (shape, _) in self.mismatched.items()} | self.missing
        size = _parameters(self.loaded) + _parameters(kept)
        return (
            f"warm start: {len(self.loaded)} of {len(self.loaded) + len(kept)} tensors taken from the file "
            f"({_parameters(self.loaded):,} of {size:,} parameters); {len(self.mismatched)} of another shape, "
            f"{len(self.missing)} not in the file, {len(self.unused)} of the file unused"
        )

    def entry(self) -> dict[str, Any]:
        """The start as results.json has it under ``warm_start``: names and counts, never where the file lies."""
        return {
            "file_sha256": self.file_sha256,
            "loaded": list(self.loaded),
            "mismatched": [
                {"name": name, "model": list(own), "file": list(found)}
                for name, (own, found) in self.mismatched.items()
            ],
            "missing": list(self.missing),
            "unused": list(self.unused),
            "parameters": {
                "loaded": _parameters(self.loaded),
                "mismatched": _parameters({name: own for name, (own, _) in self.mismatched.items()}),
                "missing": _parameters(self.missing),
                "unused": _parameters(self.unused),
            },
        }


def warm_start(
    layout: Layout, weights: FlatParameters, arrays: Mapping[str, NDArray[Any]]
) -> tuple[FlatParameters, WarmStart]:
    """Flat weights with every array of equal name and shape in its place, and a report of all tensors.

    Args:
        layout: the model's, from `parameter_layout`.
        weights: (size,) the model's own start, kept wherever no array fits.
        arrays: named tensors of any real type; taken as float32.

    Raises:
        Refusal: ``warm-start-nothing-fits`` when no array fits, ``warm-start-not-finite`` when one that does holds
            NaN, infinity or a number beyond float32, ``wrong-parameters`` when weights and layout differ.

    """
    own, found = dict(layout), {name: tuple(array.shape) for name, array in sorted(arrays.items())}
    report = WarmStart(
        {name: shape for name, shape in own.items() if found.get(name) == shape},
        {name: (shape, found[name]) for name, shape in own.items() if found.get(name, shape) != shape},
        {name: shape for name, shape in own.items() if name not in found},
        {name: shape for name, shape in found.items() if name not in own},
    )
    if not report.loaded:
        raise Refusal(
            "warm-start-nothing-fits",
            f"none of the file's {len(found)} tensors has the name and shape of one of the model's {len(own)}",
            "give weights of this study's model; the names must be equal, for example encoder.project.weight",
        )
    taken = {name: _as_float32(name, arrays[name]) for name in report.loaded}
    return join_parameters(layout, split_parameters(layout, weights) | taken), report


def warm_start_from(path: Path, layout: Layout, weights: FlatParameters) -> tuple[FlatParameters, WarmStart]:
    """`warm_start` from a safetensors file. Pickled checkpoints are refused: reading one can run any code.

    Raises:
        Refusal: ``unreadable-weights``, or as `warm_start`.

    """
    before = _sha256(path)
    try:
        arrays, _ = load_safetensors(path)
    except TypeError as error:  # numpy has no bfloat16 and no float8
        raise Refusal(
            "unreadable-weights", f"{path} holds a number type that numpy lacks", "convert the weights to float32"
        ) from error
    if _sha256(path) != before:
        raise Refusal("unreadable-weights", f"{path} changed while it was read", "start again when it is complete")
    started, report = warm_start(layout, weights, arrays)
    return started, WarmStart(report.loaded, report.mismatched, report.missing, report.unused, before)


def _as_float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinity, which is refused
        values = np.asarray(array.real).astype(np.float32)
    if np.iscomplexobj(array) or not np.isfinite(values).all():
        raise Refusal(
            "warm-start-not-finite", f"{name} holds a value that is no finite float32", "give another weights file"
        )
    return values


def _parameters(shapes: Mapping[str, Shape]) -> int:
    return sum(prod(shape) for shape in shapes.values())


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refusal(
            "unreadable-weights", f"{path} cannot be read ({type(error).__name__})", "give a readable weights file"
        ) from error
