"""Which series a mask belongs to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from segmentations import segment_keys, write_mha, write_nrrd, write_seg

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.masks.matching import MatchedMask, match_masks
from fedescc.client.imaging.volumes.series import group_series

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


MASK = np.zeros(STORED.shape, np.uint8)
MASK[1, 1:3, 2:5] = 1
PLACE = {"directions": "(0.7,0,0) (0,0.8,0) (0,0,2)"}


@pytest.mark.parametrize("uid", ["1.1", "1.2"])
def test_a_segmentation_belongs_to_the_series_it_names(two_series: Path, uid: str) -> None:
    write_seg(two_series / "seg", ["GTV", "node"], [(1, MASK[1], (-10, -20, 32))], series_uid=uid)
    one, empty = matched(two_series)
    assert (one.series.uid if one.series else "", one.reasons, one.warnings) == (uid, (), ())
    np.testing.assert_array_equal(one.voxels, MASK == 1)
    assert (empty.roi, empty.reasons) == ("node", ("empty_roi",))


def test_a_segmentation_names_images_before_series(two_series: Path) -> None:
    sop_uid = str(pydicom.dcmread(two_series / "soft" / "0001").SOPInstanceUID)
    write_seg(two_series / "seg", ["GTV"], [(1, MASK[1], (-10, -20, 32))], series_uid="1.2", sop_uids=[sop_uid])
    (one,) = matched(two_series)
    assert one.series is not None
    assert one.series.uid == "1.1"


def test_a_segmentation_that_names_no_images_goes_by_frame_of_reference(tmp_path: Path, ct_series: Series) -> None:
    ct_series(tmp_path / "before", STORED, SeriesInstanceUID="1.1", FrameOfReferenceUID="2.1")
    ct_series(tmp_path / "after", STORED, SeriesInstanceUID="1.2")
    write_seg(tmp_path / "seg", ["GTV"], [(1, MASK[1], (-10, -20, 32))])
    (one,) = matched(tmp_path)
    assert one.series is not None
    assert one.series.uid == "1.2"


@pytest.mark.parametrize("frame", ["1.2.3.5", ""])
@pytest.mark.parametrize("names", [{"series_uid": "8.8"}, {"sop_uid": "9.9"}, {"series_uid": "8.8", "sop_uid": "9.9"}])
def test_a_mask_whose_own_images_are_absent_has_no_series(
    tmp_path: Path, ct_series: Series, rtstruct: Structures, names: dict[str, str], frame: str
) -> None:
    """The CT beside it has its grid and frame of reference, as the CT of a PET/CT has."""
    ct_series(tmp_path / "ct", STORED, FrameOfReferenceUID=frame)
    rtstruct(tmp_path / "rs", {"GTV": [SQUARE]}, frame=frame, **names)
    named = {"series_uid": names.get("series_uid", ""), "sop_uids": [uid for uid in [names.get("sop_uid")] if uid]}
    write_seg(tmp_path / "seg", ["GTV"], [(1, MASK[1], (-10, -20, 32))], FrameOfReferenceUID=frame, **named)
    assert [(mask.reasons, mask.series) for mask in matched(tmp_path)] == [(("no_series",), None)] * 2


@pytest.mark.parametrize(
    ("scan", "drawing", "reasons"),
    [("P1", "P1", ()), ("P1", "P2", ("no_series",)), ("", "P2", ()), ("P1", "", ())],
)
@pytest.mark.parametrize("uid", ["", "1.2.3.4"])
def test_a_mask_of_another_patient_has_no_series(
    tmp_path: Path,
    ct_series: Series,
    rtstruct: Structures,
    scan: str,
    drawing: str,
    reasons: tuple[str, ...],
    uid: str,
) -> None:
    """Whatever UIDs they share, as where an anonymiser gave all the same."""
    ct_series(tmp_path / "ct", STORED, PatientID=scan)
    path = rtstruct(tmp_path / "rs", {"GTV": [SQUARE]}, series_uid=uid)
    data = pydicom.dcmread(path)
    data.PatientID = drawing
    data.save_as(path)
    write_seg(tmp_path / "seg", ["GTV"], [(1, MASK[1], (-10, -20, 32))], series_uid=uid, PatientID=drawing)
    assert [mask.reasons for mask in matched(tmp_path)] == [reasons] * 2


def test_a_contour_that_names_another_slice_than_it_lies_on_is_refused(two_series: Path, rtstruct: Structures) -> None:
    """CT and contours in coordinates that differ by a slice."""
    uids = [str(pydicom.dcmread(two_series / "soft" / f"{k:04}").SOPInstanceUID) for k in (1, 2)]
    rtstruct(two_series / "right", {"GTV": [SQUARE]}, series_uid="1.1", sop_uid=uids[0])
    rtstruct(two_series / "shifted", {"GTV": [SQUARE]}, series_uid="1.1", sop_uid=uids[1])
    assert {mask.file.name: mask.reasons for mask in matched(two_series)} == {
        "right": (),
        "shifted": ("contour_off_slice",),
    }


def test_masks_on_a_thin_ct_whose_positions_are_rounded(
    tmp_path: Path, ct_series: Series, rtstruct: Structures
) -> None:
    """Gaps of 0.625 mm, written to 0.1 mm: the CT is accepted, and so is what lies exactly on its slices."""
    heights = [round(-133.37 + 0.625 * k, 1) for k in range(60)]
    place = {"per_slice": lambda k: {"ImagePositionPatient": [-10.0, -20.0, heights[k]]}}
    ct_series(tmp_path / "ct", np.zeros((60, 6, 7), np.uint16), **place)
    rtstruct(tmp_path / "rs", {"GTV": [np.column_stack([SQUARE[:, :2], [z] * 4]) for z in heights[10:50]]})
    write_seg(tmp_path / "seg", ["GTV"], [(1, MASK[1], (-10, -20, z)) for z in heights[10:50]])
    expected = np.zeros((60, 6, 7), bool)
    expected[10:50] = MASK[1] == 1
    for mask in matched(tmp_path):
        assert mask.reasons == ()
        np.testing.assert_array_equal(mask.voxels, expected)


def test_warnings_come_with_the_mask(two_series: Path) -> None:
    frames = [(1, MASK[1] * 200, (-10, -20, z)) for z in (30, 34)]
    write_seg(two_series / "seg", ["GTV"], frames, kind="FRACTIONAL", series_uid="1.1")
    (one,) = matched(two_series)
    assert (one.reasons, one.warnings) == ((), ("fractional_segmentation", "roi_skips_slices"))


def test_label_maps_of_every_kind_go_by_their_grid_and_folder(two_series: Path) -> None:
    two = np.stack([MASK, MASK * 2], axis=3)
    write_nrrd(two_series / "soft" / "a.seg.nrrd", two, keys=segment_keys(("GTV", 1, 0), ("Heart", 2, 1)), **PLACE)
    write_nrrd(two_series / "lung" / "b.nrrd", MASK, encoding="gzip", **PLACE)
    write_mha(two_series / "soft" / "c.mha", MASK, changes={"ElementSpacing": "0.7 0.8 2"})
    write_mha(two_series / "soft" / "d.mhd", MASK, changes={"ElementDataFile": "d.raw"})
    write_mha(two_series / "soft" / "e.mha", MASK)
    found = {(one.file.name, one.roi): one for one in matched(two_series)}
    uids = {key: one.series.uid if one.series else None for key, one in found.items()}
    assert uids == {
        ("soft/a.seg.nrrd", "GTV"): "1.1",
        ("soft/a.seg.nrrd", "Heart"): "1.1",
        ("lung/b.nrrd", "b"): "1.2",
        ("soft/c.mha", "c"): "1.1",
        ("soft/d.mhd", "d"): None,
        ("soft/e.mha", "e"): None,
    }
    for (name, _), one in found.items():
        if one.voxels is not None:
            np.testing.assert_array_equal(one.voxels, MASK == 1, err_msg=name)
    assert found["soft/d.mhd", "d"].reasons == ("mask_detached",)
    assert found["soft/e.mha", "e"].reasons == ("other_geometry",)


def test_a_file_that_cannot_be_read_is_one_refused_mask(two_series: Path) -> None:
    write_seg(two_series / "seg", ["GTV"], [(1, MASK[1], (-10, -20, 32))], SegmentationType="SURFACE")
    write_nrrd(two_series / "a.nhdr", MASK, extra="data file: a.raw\n")
    assert {(one.file.name, one.roi): one.reasons for one in matched(two_series)} == {
        ("seg", None): ("unsupported_segmentation_type",),
        ("a.nhdr", None): ("mask_detached",),
    }
