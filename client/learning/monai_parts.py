"""The parts of MONAI that training uses. Importing MONAI takes seconds, so only training on images does."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def flip_transform() -> Any:
    """The class ``monai.transforms.Flip``."""
    with _torch_jit_unmentioned():
        from monai.transforms.spatial.array import Flip
    return Flip


@cache
def focal_loss() -> Any:
    """The class ``monai.losses.FocalLoss``."""
    with _torch_jit_unmentioned():
        from monai.losses.focal_loss import FocalLoss
    return FocalLoss


@contextmanager
def _torch_jit_unmentioned() -> Iterator[None]:
    """MONAI 1.6 still imports TorchScript, of which torch 2.13 warns; nothing here uses it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield
