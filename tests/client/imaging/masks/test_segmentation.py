"""DICOM SEG: each frame where it lies, or a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless
from segmentations import AXIAL, item, packed, write_seg

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.masks.contours import Drawn
from fedescc.client.imaging.masks.segmentation import Segment, place_segment, read_segmentation
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((6, 9, 11), (2.0, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
RNG = np.random.default_rng(3)
GTV = RNG.random(GRID.shape_zyx) < 0.3
NODE = RNG.random(GRID.shape_zyx) < 0.3


def at(plane: float, y: float = 0, x: float = 0, grid: Geometry = GRID) -> list[float]:
    return [float(v) for v in grid.index_to_physical((x, y, plane))]


def frames_of(mask: np.ndarray, number: int = 1, planes: Any = range(6)) -> list[Any]:
    return [(number, mask[k], at(k)) for k in planes]


def segment(path: Path, name: str = "GTV") -> Segment:
    (one,) = [one for one in read_segmentation(path).rois if one.name == name]
    return one


def placed(path: Path, name: str = "GTV", grid: Geometry = GRID) -> Drawn:
    return place_segment(segment(path, name), grid, frame_of_reference_uid="1.2.3.5")


def code(path: Path, name: str = "GTV", grid: Geometry = GRID) -> str:
    with pytest.raises(Refusal) as caught:
        placed(path, name, grid)
    return caught.value.code


@pytest.mark.parametrize("shared", [True, False])
def test_overlapping_segments_are_read_apart(tmp_path: Path, shared: bool) -> None:
    path = write_seg(tmp_path / "seg", ["GTV", "node"], [*frames_of(GTV), *frames_of(NODE, 2)], shared=shared)
    assert (GTV & NODE).any()
    np.testing.assert_array_equal(placed(path).voxels, GTV)
    np.testing.assert_array_equal(placed(path, "node").voxels, NODE)
    assert placed(path).warnings == ()


@given(order=st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_frames_does_not_matter(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    """9 x 11 pixels are no whole number of bytes, so frames start inside one."""
    frames = [*frames_of(GTV), *frames_of(NODE, 2)]
    path = write_seg(tmp_path_factory.mktemp("s") / "seg", ["GTV", "node"], [frames[k] for k in order])
    np.testing.assert_array_equal(placed(path).voxels, GTV)
    np.testing.assert_array_equal(placed(path, "node").voxels, NODE)


def test_planes_without_a_frame_are_empty_and_a_gap_warns(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV, planes=(1, 2)))
    expected = np.zeros_like(GTV)
    expected[1:3] = GTV[1:3]
    np.testing.assert_array_equal(placed(path).voxels, expected)
    assert placed(path).warnings == ()
    path = write_seg(tmp_path / "gap", ["GTV"], frames_of(GTV, planes=(1, 2, 4)))
    assert placed(path).warnings == ("roi_skips_slices",)


@pytest.mark.parametrize("turn", [1, -1])
def test_frames_may_cover_a_part_of_their_plane_and_lie_flipped_on_it(tmp_path: Path, turn: int) -> None:
    """Rows run from posterior to anterior and columns from left to right, from another corner."""
    part = RNG.random((4, 5)) < 0.5
    frame = part[::turn, ::turn]
    orientation = np.multiply(AXIAL, turn)
    corner = at(2, 3, 4) if turn == 1 else at(2, 6, 8)
    path = write_seg(tmp_path / "seg", ["GTV"], [(1, frame, corner)], orientation=orientation.tolist())
    expected = np.zeros_like(GTV)
    expected[2, 3:7, 4:9] = part
    np.testing.assert_array_equal(placed(path).voxels, expected)


def test_frames_across_the_slices_lie_where_they_say(tmp_path: Path) -> None:
    """A segmentation drawn on coronal planes of the same voxels."""
    frames = [(1, GTV[:, y, :], at(0, y, 0)) for y in range(9)]
    path = write_seg(tmp_path / "seg", ["GTV"], frames, orientation=(1, 0, 0, 0, 0, 1), spacing=(2.0, 0.7))
    np.testing.assert_array_equal(placed(path).voxels, GTV)


def test_a_turned_and_a_tilted_ct(tmp_path: Path) -> None:
    turned = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (5.0, 1.0, 40.0), (0, -1, 0, 1, 0, 0, 0, 0, 1))
    frames = [(1, GTV[k], at(k, grid=turned)) for k in range(6)]
    path = write_seg(tmp_path / "turned", ["GTV"], frames, orientation=(0, 1, 0, -1, 0, 0))
    np.testing.assert_array_equal(placed(path, grid=turned).voxels, GTV)
    assert code(path) == "other_geometry"
    slant = np.array([0.0, 0.25, 1.0]) / np.hypot(0.25, 1)
    tilted = Geometry(
        GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (1, 0, 0, 0, 1, slant[1], 0, 0, slant[2])
    )
    frames = [(1, GTV[k], at(k, grid=tilted)) for k in range(6)]
    path = write_seg(tmp_path / "tilted", ["GTV"], frames)
    np.testing.assert_array_equal(placed(path, grid=tilted).voxels, GTV)


@pytest.mark.parametrize(
    ("tags", "frame"),
    [
        ({}, (1, GTV[0], at(0.2))),
        ({}, (1, GTV[0], at(0, 0.05))),
        ({}, (1, GTV[0], at(0, 0, 0.5))),
        ({"spacing": (0.8, 0.71)}, (1, GTV[0], at(0))),
        ({"spacing": (0.4, 0.35)}, (1, GTV[0], at(0))),
        ({"spacing": (0.7, 0.8)}, (1, GTV[0], at(0))),
        ({"orientation": (0.8, 0.6, 0, -0.6, 0.8, 0)}, (1, GTV[0], at(0))),
        ({"orientation": (1, 0, 0, 0, 0.98, 0.199)}, (1, GTV[0], at(0))),
        ({}, (1, GTV[0], [float("1e30"), 0, 0])),
    ],
)
def test_a_frame_between_the_voxels_is_refused(tmp_path: Path, tags: Any, frame: Any) -> None:
    assert code(write_seg(tmp_path / "seg", ["GTV"], [*frames_of(GTV)[1:], frame], **tags)) == "other_geometry"


def test_a_slice_that_lies_off_the_regular_grid_by_rounding_keeps_its_frame(tmp_path: Path) -> None:
    frames = [(1, GTV[k], at(k + (0.05 if k % 2 else -0.05))) for k in range(6)]
    np.testing.assert_array_equal(placed(write_seg(tmp_path / "seg", ["GTV"], frames)).voxels, GTV)


@pytest.mark.parametrize("position", [at(6), at(-1), at(0, -1), at(0, 1), at(0, 0, -1), at(0, 0, 3), at(40)])
def test_marks_beyond_the_ct_are_a_truncated_roi(tmp_path: Path, position: list[float]) -> None:
    full = np.ones((9, 11), bool)
    assert code(write_seg(tmp_path / "seg", ["GTV"], [(1, full, at(0)), (1, full, position)])) == "roi_truncated"
    # Empty pixels there say nothing.
    path = write_seg(tmp_path / "seg", ["GTV"], [(1, full, at(1)), (1, ~full, position)])
    assert placed(path).voxels.sum() == full.sum()


def test_two_frames_in_one_place_are_refused(tmp_path: Path) -> None:
    assert code(write_seg(tmp_path / "seg", ["GTV"], [*frames_of(GTV), (1, NODE[3], at(3))])) == "duplicate_frames"


def test_the_frame_of_reference_is_compared(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV))
    with pytest.raises(Refusal, match="wrong_frame_of_reference"):
        place_segment(segment(path), GRID, frame_of_reference_uid="9.9")
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV), FrameOfReferenceUID=None)
    np.testing.assert_array_equal(place_segment(segment(path), GRID, frame_of_reference_uid="9.9").voxels, GTV)


def test_an_empty_segment_and_one_without_frames(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "seg", ["GTV", "node"], frames_of(np.zeros_like(GTV)))
    assert (code(path), code(path, "node")) == ("empty_roi", "empty_roi")


def test_a_fractional_segment_takes_in_what_is_half_inside_and_says_so(tmp_path: Path) -> None:
    values = RNG.integers(0, 201, GRID.shape_zyx).astype(np.uint8)
    values[0, 0, :4] = (99, 100, 101, 200)
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(values), kind="FRACTIONAL")
    found = placed(path)
    np.testing.assert_array_equal(found.voxels, values >= 100)
    assert found.voxels[0, 0, :4].tolist() == [False, True, True, True]
    assert found.warnings == ("fractional_segmentation",)
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(values), kind="FRACTIONAL", MaximumFractionalValue=150)
    assert code(path) == "mask_not_integer"


def test_a_label_map_segmentation(tmp_path: Path) -> None:
    labels = RNG.integers(0, 4, GRID.shape_zyx).astype(np.uint8)
    path = write_seg(tmp_path / "seg", ["GTV", "node"], frames_of(labels), kind="LABELMAP")
    np.testing.assert_array_equal(placed(path).voxels, labels == 1)
    np.testing.assert_array_equal(placed(path, "node").voxels, labels == 2)
    background = item(SegmentNumber=0, SegmentLabel="Background")
    listed = [background, item(SegmentNumber=1, SegmentLabel="GTV")]
    path = write_seg(tmp_path / "seg", [], frames_of(labels), kind="LABELMAP", SegmentSequence=listed)
    assert [one.name for one in read_segmentation(path).rois] == ["GTV"]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_compressed_segmentations_hold_the_same_voxels(tmp_path: Path, syntax: str, kind: str) -> None:
    grid = Geometry((2, 64, 70), (2.0, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
    values = RNG.integers(0, 3, grid.shape_zyx).astype(np.uint8)
    frames = [(1, values[k], at(k)) for k in range(2)]
    tags = {"MaximumFractionalValue": 2, "kind": kind, "syntax": syntax}
    path = write_seg(tmp_path / "seg", ["GTV", "node"], frames, **tags)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    expected = values >= 1 if kind == "FRACTIONAL" else values == 1
    np.testing.assert_array_equal(placed(path, grid=grid).voxels, expected)


def test_lossy_compression_is_refused(tmp_path: Path) -> None:
    grid = Geometry((1, 64, 70), (2.0, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
    frame = (1, np.ones((64, 70), np.uint8), at(0))
    path = write_seg(tmp_path / "seg", ["GTV"], [frame], kind="LABELMAP", syntax=JPEG2000Lossless)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.91"
    dataset.save_as(path)
    assert placed(path, grid=grid).voxels.all()
    dataset.LossyImageCompression = "01"
    dataset.save_as(path)
    with pytest.raises(Refusal, match="mask_lossy"):
        read_segmentation(path)
    # A SEG of a CT that was compressed lossily repeats the CT's flag; its own values are as drawn.
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV), LossyImageCompression="01")
    np.testing.assert_array_equal(placed(path).voxels, GTV)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_file_cut_anywhere_never_gives_a_smaller_mask(tmp_path: Path, kind: str) -> None:
    full = np.ones((9, 11), np.uint8)
    segments = (1, 2) if kind == "BINARY" else (1,)
    frames = [(number, full, at(k)) for number in segments for k in range(6)]
    path = write_seg(tmp_path / "seg", ["GTV", "node"], frames, kind=kind)
    whole = path.read_bytes()
    assert placed(path).voxels.all()
    for keep in range(0, len(whole), 7):
        path.write_bytes(whole[:keep])
        with pytest.raises(Refusal):
            placed(path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_a_compressed_file_cut_anywhere_never_gives_a_smaller_mask(tmp_path: Path, syntax: str) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV * 1), kind="LABELMAP", syntax=syntax)
    whole = path.read_bytes()
    for keep in range(len(whole) - 700, len(whole) - 8, 3):
        path.write_bytes(whole[:keep])
        try:
            found = placed(path).voxels
        except Refusal:
            continue
        np.testing.assert_array_equal(found, GTV)


@pytest.mark.parametrize("short", [2, 10, 60])
def test_pixel_data_shorter_than_its_frames_is_refused_though_the_file_is_whole(tmp_path: Path, short: int) -> None:
    content = packed(np.stack([GTV[k] for k in range(6)]))
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV), PixelData=content[:-short])
    with pytest.raises(Refusal, match="truncated"):
        placed(path)


@pytest.mark.parametrize("stated", [5, 7, 1])
def test_another_number_of_frames_than_described_is_refused(tmp_path: Path, stated: int) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV), NumberOfFrames=stated)
    with pytest.raises(Refusal, match="truncated"):
        read_segmentation(path)


def test_a_lost_frame_of_a_compressed_file_is_refused(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV * 1), kind="LABELMAP", syntax=RLELossless)
    dataset = pydicom.dcmread(path)
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=6))
    dataset.PixelData = pydicom.encaps.encapsulate(frames[:-1])
    dataset.save_as(path)
    assert code(path) == "mask_truncated"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"SegmentationType": "SURFACE"}, "unsupported_segmentation_type"),
        ({"SegmentationType": None}, "unsupported_segmentation_type"),
        ({"SegmentSequence": None}, "mask_unreadable"),
        ({"PixelData": None}, "mask_truncated"),
        ({"SharedFunctionalGroupsSequence": None}, "missing_geometry"),
        ({"orientation": (1, 0, 0, 0, 0.9, 0)}, "invalid_orientation"),
        ({"spacing": (0.8, 0)}, "invalid_pixel_spacing"),
        ({"spacing": (0.8, -0.7)}, "invalid_pixel_spacing"),
        ({"kind": "FRACTIONAL", "MaximumFractionalValue": 0}, "mask_unreadable"),
    ],
)
def test_files_that_do_not_say_enough_are_refused(tmp_path: Path, tags: dict[str, Any], expected: str) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV * 1), **tags)
    with pytest.raises(Refusal) as caught:
        read_segmentation(path)
    assert caught.value.code == expected


def test_a_frame_that_names_no_segment_is_refused(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV))
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[2].SegmentIdentificationSequence
    dataset.save_as(path)
    with pytest.raises(Refusal, match="mask_unreadable"):
        read_segmentation(path)


def test_names_fall_back_on_the_description_and_references_are_listed(tmp_path: Path) -> None:
    listed = [item(SegmentNumber=1, SegmentLabel="", SegmentDescription=" GTV ")]
    path = write_seg(
        tmp_path / "seg", [], frames_of(GTV), SegmentSequence=listed, series_uid="1.2", sop_uids=["1.2.1", "1.2.2"]
    )
    found = read_segmentation(path)
    assert [one.name for one in found.rois] == ["GTV"]
    assert (found.series_uids, found.sop_uids) == ({"1.2"}, {"1.2.1", "1.2.2"})
    dataset = pydicom.dcmread(path)
    source = item(SourceImageSequence=[item(ReferencedSOPInstanceUID="1.2.9")])
    dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence = [source]
    dataset.save_as(path)
    assert read_segmentation(path).sop_uids == {"1.2.1", "1.2.2", "1.2.9"}


def test_nothing_that_identifies_is_shown(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "Smith" / "seg", ["GTV of Smith"], frames_of(GTV))
    shown = repr(read_segmentation(path))
    assert "Smith" not in shown
    assert "1.2.3.5" not in shown


@pytest.mark.parametrize("name", ["liver_1frame.dcm", "liver_expb_1frame.dcm"])
def test_segmentations_of_pydicom_s_wheel_describe_more_frames_than_they_hold(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    with pytest.raises(Refusal) as caught:
        read_segmentation(path)
    expected = "unsupported_mask_format" if "expb" in name else "mask_truncated"  # single bits, big endian
    assert caught.value.code == expected


def test_both_storage_classes_are_indexed_as_masks(tmp_path: Path) -> None:
    write_seg(tmp_path / "a", ["GTV"], frames_of(GTV))
    write_seg(tmp_path / "b", ["GTV"], frames_of(GTV * 1), kind="LABELMAP", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7")
    assert {mask.file: mask.kind for mask in index_folder(tmp_path).masks} == {"a": "seg", "b": "seg"}


def test_a_deflated_file_is_read_and_one_cut_is_refused(tmp_path: Path) -> None:
    path = write_seg(tmp_path / "seg", ["GTV"], frames_of(GTV))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    np.testing.assert_array_equal(placed(path).voxels, GTV)
    whole = path.read_bytes()
    for keep in range(0, len(whole) - 8, 11):  # the last bytes may be padding
        path.write_bytes(whole[:keep])
        with pytest.raises(Refusal):
            placed(path)
