"""Radiomics against the consensus of the Image Biomarker Standardisation Initiative (Radiology 2020;295:328)."""

import csv
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from fedescc.client.features.radiomics import Tissue, radiomic_values
from fedescc.client.imaging.headers.index import MaskFile, index_folder
from fedescc.client.imaging.masks.regions import place, read_regions
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import open_volume
from fedescc.common.tabular.features import RADIOMIC_MEASURES

pytestmark = pytest.mark.real_data

# The references have three digits, and a value may lie between two of them.
_DIGITS = 3


def test_every_measure_of_the_digital_phantom_is_the_reference(real_data: Path) -> None:
    references = read_references(real_data, "ibsi_1_dig_phantom.csv")
    assert found_beyond(digital_phantom(real_data), references) == {}


def test_every_measure_of_the_lung_ct_is_the_reference(real_data: Path) -> None:
    """Configuration C: 2 mm by trilinear interpolation, -1000 to 400 HU, bins of 25 HU, texture in 3D."""
    references = read_references(real_data, "ibsi_1_chest_config_c.csv")
    assert found_beyond(lung_ct(real_data), references) == {}


def test_the_comparison_fails_on_either_side_of_the_reference(real_data: Path) -> None:
    references = read_references(real_data, "ibsi_1_chest_config_c.csv")
    for sign in (-1, 1):
        off = {name: value + sign * 2.2 * allowed(value, tolerance) for name, (value, tolerance) in references.items()}
        assert found_beyond(off, references).keys() == references.keys()


def read_references(real_data: Path, file: str) -> dict[str, tuple[float, float]]:
    """Consensus value and tolerance of every measure; none of ours may be without."""
    with (real_data / "ibsi1_reference_values" / file).open(encoding="utf-8") as lines:
        rows = {row["tag"]: row for row in csv.DictReader(lines, delimiter=";")}
    tags = {
        name: next(tag for tag in (name, f"{name}_3D_comb", f"{name}_3D") if tag in rows) for name in RADIOMIC_MEASURES
    }
    return {name: (float(rows[tag]["reference value"]), float(rows[tag]["tolerance"])) for name, tag in tags.items()}


def found_beyond(found: dict[str, float], references: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Measures that differ from the reference, with both values."""
    return {
        name: (found[name], value)
        for name, (value, tolerance) in references.items()
        if not abs(found[name] - value) <= allowed(value, tolerance)
    }


def allowed(value: float, tolerance: float) -> float:
    half_a_digit = 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    return tolerance + half_a_digit


@cache
def digital_phantom(real_data: Path) -> dict[str, float]:
    """Its grey levels are 1 to 6: whole numbers, bins of 1 from 1."""
    folder = real_data / "ibsi1_digital"
    image, mask = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("phantom", "mask"))
    levels, inside = (sitk.GetArrayFromImage(one) for one in (image, mask))
    z, y, x = image.GetSpacing()[::-1]
    tissue = Tissue(levels.astype(np.float32), inside > 0, (z, y, x), (1.0, 6.0), 1.0)
    return dict(zip(RADIOMIC_MEASURES, radiomic_values(tissue), strict=True))


@cache
def lung_ct(real_data: Path) -> dict[str, float]:
    folder = real_data / "ibsi1_lung_ct"
    (series,) = group_series(index_folder(folder / "image").rows)
    volume = open_volume(series)
    mask_file = MaskFile(str(folder / "mask"), "DCM_RS_00060.dcm", "rtstruct")
    (gtv,) = [roi for roi in read_regions(mask_file).rois if roi.name == "GTV-1"]
    frame = volume.rows[0].frame_of_reference_uid
    mask = place(gtv, volume.geometry, frame_of_reference_uid=frame).voxels
    hu = volume.slices(0, volume.geometry.shape_zyx[0])
    points = grid_of(hu.shape, np.round(volume.geometry.spacing_zyx_mm, 6), 2.0)
    image, inside = (map_coordinates(one.astype(np.float64), points, order=1, mode="nearest") for one in (hu, mask))
    # Half inside counts as inside, whatever the last bit of the sum says.
    tissue = Tissue(np.rint(image).astype(np.float32), inside >= 0.5 - 1e-6, (2.0, 2.0, 2.0), (-1000.0, 400.0))
    return dict(zip(RADIOMIC_MEASURES, radiomic_values(tissue), strict=True))


def grid_of(shape: tuple[int, ...], spacing: np.ndarray, wanted: float) -> list[np.ndarray]:
    """Indices (z, y, x) of a grid with the same centre, as IBSI aligns them."""
    counts = [math.ceil(n * mm / wanted) for n, mm in zip(shape, spacing, strict=True)]
    axes = [
        0.5 * (n - 1) + (np.arange(count) - 0.5 * (count - 1)) * wanted / mm
        for n, count, mm in zip(shape, counts, spacing, strict=True)
    ]
    return np.meshgrid(*axes, indexing="ij")
