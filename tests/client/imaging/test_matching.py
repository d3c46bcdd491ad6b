"""Which series an RTSTRUCT belongs to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fedescc.client.imaging.index import index_folder
from fedescc.client.imaging.matching import MatchedMask, match_masks
from fedescc.client.imaging.series import group_series

Series = Callable[..., list[Path]]
Structures = Callable[..., Path]
STORED = np.zeros((4, 6, 7), np.uint16)
# Voxels 2-4 of rows 1-2 on slice 1 of the factory's default grid (spacing .8 by .7, gap 2, origin -10, -20, 30).
SQUARE = np.array([[-10 + 0.7 * x, -20 + 0.8 * y, 32.0] for x, y in ((1.5, 0.5), (4.5, 0.5), (4.5, 2.5), (1.5, 2.5))])


def matched(folder: Path) -> list[MatchedMask]:
    index = index_folder(folder)
    return list(match_masks(index.masks, group_series(index.rows)))


@pytest.fixture
def two_series(tmp_path: Path, ct_series: Series) -> Path:
    """Two reconstructions on one grid, one frame of reference, in folders beside each other."""
    ct_series(tmp_path / "soft", STORED, SeriesInstanceUID="1.1")
    ct_series(tmp_path / "lung", STORED, SeriesInstanceUID="1.2")
    return tmp_path


def test_mask_lies_on_the_voxels_that_were_drawn(two_series: Path, rtstruct: Structures) -> None:
    rtstruct(two_series / "rs", {"GTV": [SQUARE]}, series_uid="1.2")
    (mask,) = matched(two_series)
    assert mask.voxels is not None
    expected = np.zeros(STORED.shape, bool)
    expected[1, 1:3, 2:5] = True
    np.testing.assert_array_equal(mask.voxels, expected)


@pytest.mark.parametrize("uid", ["1.1", "1.2"])
def test_referenced_series_decides(two_series: Path, rtstruct: Structures, uid: str) -> None:
    rtstruct(two_series / "rs", {"GTV": [SQUARE]}, series_uid=uid)
    (mask,) = matched(two_series)
    assert mask.series is not None
    assert mask.series.uid == uid


def test_referenced_image_goes_before_series(two_series: Path, rtstruct: Structures) -> None:
    sop_uid = str(pydicom.dcmread(two_series / "soft" / "0001").SOPInstanceUID)
    rtstruct(two_series / "rs", {"GTV": [SQUARE]}, series_uid="1.2", sop_uid=sop_uid)
    (mask,) = matched(two_series)
    assert mask.series is not None
    assert mask.series.uid == "1.1"


def test_frame_of_reference_alone_cannot_choose_between_two(two_series: Path, rtstruct: Structures) -> None:
    rtstruct(two_series / "rs", {"GTV": [SQUARE]})
    (mask,) = matched(two_series)
    assert (mask.reasons, mask.series, mask.voxels) == (("series_ambiguous",), None, None)


def test_frame_of_reference_tells_two_scans_of_one_grid_apart(
    tmp_path: Path, ct_series: Series, rtstruct: Structures
) -> None:
    ct_series(tmp_path / "before", STORED, SeriesInstanceUID="1.1", FrameOfReferenceUID="2.1")
    ct_series(tmp_path / "after", STORED, SeriesInstanceUID="1.2", FrameOfReferenceUID="2.2")
    rtstruct(tmp_path / "rs", {"GTV": [SQUARE]}, frame="2.2")
    (mask,) = matched(tmp_path)
    assert mask.series is not None
    assert mask.series.uid == "1.2"


def test_mask_of_an_absent_scan_is_refused(two_series: Path, rtstruct: Structures) -> None:
    rtstruct(two_series / "rs", {"GTV": [SQUARE]}, frame="2.9")
    (mask,) = matched(two_series)
    assert mask.reasons == ("wrong_frame_of_reference",)


def test_mask_of_a_refused_series_names_it(two_series: Path, rtstruct: Structures) -> None:
    (two_series / "soft" / "0001").unlink()
    rtstruct(two_series / "rs", {"GTV": [SQUARE]}, series_uid="1.1")
    (mask,) = matched(two_series)
    assert mask.reasons == ("series_refused",)
    assert mask.series is not None
    assert mask.series.uid == "1.1"


def test_every_roi_is_listed_with_its_own_verdict(two_series: Path, rtstruct: Structures) -> None:
    rois = {"GTV": [SQUARE], "Heart": [], "Isocentre": [(SQUARE, {"ContourGeometricType": "POINT"})]}
    rtstruct(two_series / "rs", rois, series_uid="1.1")
    assert {mask.roi: mask.reasons for mask in matched(two_series)} == {
        "GTV": (),
        "Heart": ("empty_roi",),
        "Isocentre": ("unsupported_contour_type",),
    }
