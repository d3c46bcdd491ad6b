"""The parts of MONAI that training uses. Importing MONAI takes seconds, so only training on images does."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.network.monai_import import torch_jit_unmentioned


@cache
def flip_transform() -> Any:
    """The class ``monai.transforms.Flip``."""
    with torch_jit_unmentioned():
        from monai.transforms.spatial.array import Flip
    return Flip


@cache
def focal_loss() -> Any:
    """The class ``monai.losses.FocalLoss``."""
    with torch_jit_unmentioned():
        from monai.losses.focal_loss import FocalLoss
    return FocalLoss


@cache
def affine_transform() -> Any:
    """The class ``monai.networks.layers.AffineTransform``."""
    with torch_jit_unmentioned():
        from monai.networks.layers.spatial_transforms import AffineTransform
    return AffineTransform


def rotation_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation by three angles (radians) about the axes of an array, (3, 3)."""
    with torch_jit_unmentioned():
        from monai.transforms.utils import create_rotate
    matrix: NDArray[np.float64] = np.asarray(create_rotate(len(angles), angles.tolist()), np.float64)
    return matrix[:-1, :-1]
