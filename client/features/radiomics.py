"""Radiomics of the soft tissue in the tumour bed by an IBSI-compliant library, mirp (extra ``[radiomics]``).

mirp's features and masks are used, without its workflow, which logs to stdout, reads the spacing of arrays as 1 mm and
computes all of a family or nothing: of the morphological one that costs seconds.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.features.bed import SOFT_HU, Bools, spacing_of
from fedescc.client.features.measures import windowed_hu
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid
from fedescc.common.tabular.features import RADIOMIC_MEASURES

if TYPE_CHECKING:
    from mirp._features.base_feature import Feature
    from mirp._images.ct_image import CTImage
    from mirp._masks.base_mask import BaseMask

BIN_HU = 25.0
# Fewer voxels, or a slab of one, have no texture in three dimensions and no hull.
_LEAST_VOXELS = 30
_LEAST_EXTENT = 2
# What mirp meets in tissue of a degenerate shape or a single grey level.
_DEGENERATE = (ArithmeticError, ValueError, IndexError, KeyError, RuntimeError)


class Tissue(NamedTuple):
    """Soft tissue of one scan.

    Attributes:
        hu: (z, y, x), whole HU, as IBSI has CT after interpolation.
        mask: the same shape; not empty.
        spacing_zyx_mm: of voxels.
        range_hu: voxels of other HU count for the shape only; grey levels are counted from its start.
        bin_hu: width of a grey level.

    """

    hu: NDArray[np.float32]
    mask: Bools
    spacing_zyx_mm: tuple[float, float, float]
    range_hu: tuple[float, float]
    bin_hu: float = BIN_HU


def mirp_version() -> str:
    """Version of the library.

    Raises:
        Refusal: missing-extra.

    """
    try:
        return version("mirp")
    except PackageNotFoundError as error:
        raise Refusal("missing-extra", "mirp is not installed", "run: pip install 'fedescc[radiomics]'") from error


def cut_tissue(image: NDArray[np.float16], roi: NDArray[np.uint8], grid: Grid) -> Tissue | None:
    """The soft tissue of one scan's bed; None where there is too little, the scan is missing or not finite.

    Voxels at the window's ends may have any HU beyond it, so they are left out of the intensities.
    """
    hu = np.rint(windowed_hu(image, grid))
    mask = roi.astype(bool) & (hu > max(SOFT_HU, grid.window_hu[0]))
    if np.count_nonzero(mask) < _LEAST_VOXELS or not np.isfinite(hu).all():
        return None
    box = tuple(slice(int(places.min()), int(places.max()) + 1) for places in np.nonzero(mask))
    if min(mask[box].shape) < _LEAST_EXTENT:
        return None
    low, high = grid.window_hu
    return Tissue(hu[box], mask[box], spacing_of(grid), (math.floor(low) + 1, math.ceil(high) - 1))


def radiomic_values(tissue: Tissue | None, names: Iterable[str] = RADIOMIC_MEASURES) -> NDArray[np.float64]:
    """Values (names,) of one scan; NaN where there is no tissue or a measure is not defined on it.

    Discretised by a fixed bin width; texture matrices merged over the 13 directions in 3D.
    """
    names = tuple(names)
    if tissue is None:
        return np.full(len(names), np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = dict(_computed(tissue, frozenset(names)))
    values = np.array([found.get(name, np.nan) for name in names], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _computed(tissue: Tissue, wanted: frozenset[str]) -> Iterator[tuple[str, float]]:
    image, mask = _as_mirp(tissue)
    if not mask.roi_intensity.get_voxel_grid().any():
        return
    features = _features(wanted, tissue.bin_hu)
    before: Feature | None = None
    try:
        for feature in features:
            yield feature.abbr_name, _value(feature, image, mask)
            if before is not None:
                before.clear_local_cache(other=feature)
            before = feature
    finally:
        for feature in features:
            feature.clear_cache()


def _as_mirp(tissue: Tissue) -> "tuple[CTImage, BaseMask]":
    from mirp._images.ct_image import CTImage
    from mirp._masks.base_mask import BaseMask

    place: dict[str, Any] = {
        "image_spacing": tissue.spacing_zyx_mm,
        "image_origin": (0.0, 0.0, 0.0),
        "image_orientation": np.eye(3),
        "image_dimensions": tissue.hu.shape,
    }
    image = CTImage(image_data=tissue.hu.astype(np.float64), image_modality="ct", **place)
    mask = BaseMask(roi_name="tissue", image_data=tissue.mask, **place)
    # In a list: of a word, mirp would look at each letter.
    mask.resegmentise_mask(image=image, resegmentation_method=["range"], intensity_range=tissue.range_hu)
    return image, mask


def _features(wanted: frozenset[str], bin_hu: float) -> "tuple[Feature, ...]":
    from mirp._features.feature_generator import generate_features
    from mirp.settings.feature_parameters import FeatureExtractionSettingsClass

    settings = FeatureExtractionSettingsClass(
        base_feature_families=["morphological", "statistics", "cm", "rlm", "szm"],
        base_discretisation_method="fixed_bin_size",
        base_discretisation_bin_width=bin_hu,
        glcm_spatial_method="3d_volume_merge",
        glrlm_spatial_method="3d_volume_merge",
        glszm_spatial_method="3d",
    )
    return tuple(feature for feature in generate_features(settings) if feature.abbr_name in wanted)


def _value(feature: "Feature", image: "CTImage", mask: "BaseMask") -> float:
    feature.value = None
    try:
        feature.compute(image=image, mask=mask)
    except _DEGENERATE:
        return float("nan")
    return float("nan") if feature.value is None else float(feature.value)
