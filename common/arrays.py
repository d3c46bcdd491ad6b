"""Parameters as one flat vector, the form in which they are aggregated, sent and stored.

The order is by parameter name, so that it does not depend on the order in which modules were created.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically

if TYPE_CHECKING:
    from torch import nn

_METADATA = "fedescc"

Layout = tuple[tuple[str, tuple[int, ...]], ...]
FlatParameters = NDArray[np.float32]


def parameter_layout(model: "nn.Module") -> Layout:
    """Name and shape of every parameter, sorted by name: the meaning of a flat vector's entries."""
    return tuple((name, tuple(value.shape)) for name, value in _sorted_parameters(model))


def layout_size(layout: Layout) -> int:
    """Number of entries of the flat vector."""
    return sum(math.prod(shape) for _, shape in layout)


def flatten_parameters(model: "nn.Module") -> FlatParameters:
    """A copy of all parameters: (size,) float32, C order inside each, sorted by name."""
    pieces = [value.detach().cpu().numpy().astype(np.float32).ravel() for _, value in _sorted_parameters(model)]
    return np.concatenate(pieces)


def load_parameters(model: "nn.Module", flat: NDArray[Any]) -> None:
    """Overwrite a model's parameters in place with a flat vector; gradients are dropped.

    Raises:
        Refusal: ``wrong-parameters`` when the length differs from the model's or a value is not finite.

    """
    import torch

    arrays = split_parameters(parameter_layout(model), flat)
    with torch.no_grad():
        for name, value in _sorted_parameters(model):
            value.copy_(torch.from_numpy(arrays[name].copy()))
            value.grad = None


def split_parameters(layout: Layout, flat: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """A flat vector as named arrays.

    Raises:
        Refusal: ``wrong-parameters``, as in `load_parameters`.

    """
    _check(flat, layout_size(layout))
    arrays, start = {}, 0
    for name, shape in layout:
        stop = start + math.prod(shape)
        arrays[name] = np.asarray(flat[start:stop], np.float32).reshape(shape)
        start = stop
    return arrays


def join_parameters(layout: Layout, arrays: Mapping[str, NDArray[Any]]) -> FlatParameters:
    """Named arrays as a flat vector; the inverse of `split_parameters`.

    Raises:
        Refusal: ``wrong-parameters`` when a name or shape differs from the layout or a value is not finite.

    """
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    if found != dict(layout):
        odd = sorted(set(found.items()) ^ set(layout))[0][0]
        raise _wrong(f"parameter {odd!r} is missing, unknown or of another shape")
    flat = np.concatenate([np.asarray(arrays[name], np.float32).ravel() for name, _ in layout])
    _check(flat, layout_size(layout))
    return flat


def save_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write named arrays and text metadata; a reader sees the old file or the whole new one, never half."""
    from safetensors.numpy import save

    # One entry, because safetensors writes several in random order and equal models should be equal files.
    text = {_METADATA: json.dumps(dict(metadata), sort_keys=True)}
    content = save({name: np.array(array, order="C") for name, array in arrays.items()}, metadata=text)
    write_atomically(path, content)


def load_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Named arrays and metadata of a safetensors file (pickles are never read).

    Raises:
        Refusal: ``unreadable-weights`` when the file is missing, truncated or of another format.

    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            return arrays, dict(json.loads((file.metadata() or {}).get(_METADATA, "{}")))
    except (OSError, SafetensorError, ValueError) as error:
        raise Refusal(
            "unreadable-weights",
            f"{path} is no readable safetensors file ({type(error).__name__})",
            "give weights written by fedescc; pickled checkpoints are not read",
        ) from error


def _sorted_parameters(model: "nn.Module") -> Iterator[tuple[str, Any]]:
    yield from sorted(model.named_parameters())


def _check(flat: NDArray[Any], size: int) -> None:
    if flat.shape != (size,):
        raise _wrong(f"{flat.shape} parameters where the model has ({size},)")
    if not np.isfinite(flat).all():
        raise _wrong(f"{int((~np.isfinite(flat)).sum())} of {size} parameters are not finite")


def _wrong(what: str) -> Refusal:
    return Refusal("wrong-parameters", what, "check that both sides run the same study and version")
