"""Label maps on the CT grid, voxel for voxel."""

import gzip
import struct
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from segmentations import segment_keys, write_mha, write_nrrd

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.masks.labelmap import Label, check_grid, place_label, read_labels, select_label, stem
from fedescc.client.imaging.masks.nifti import nifti_size
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((3, 20, 24), (2.5, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
Writer = Callable[[Path, np.ndarray], Path]


def read_mask(path: Path, grid: Geometry = GRID, name: str | None = None) -> Mask:
    """The file's only ROI, or the one of this name."""
    (one,) = [one for one in read_labels(path) if name is None or one.name == name]
    return place_label(one, grid)


def refused(path: Path, grid: Geometry = GRID, name: str | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        read_mask(path, grid, name)
    return caught.value.code


def blob() -> np.ndarray:
    mask = np.zeros(GRID.shape_zyx, np.uint8)
    mask[0, 2:5, 3:4] = mask[1, 3:9, 5:11] = 1
    return mask


def save(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def as_image(values: np.ndarray, grid: Geometry = GRID) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing_zyx_mm[::-1])
    image.SetOrigin(grid.origin_xyz_mm)
    image.SetDirection(grid.direction)
    return image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_on_the_same_grid(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"mask{suffix}", as_image(blob() * 7))
    mask = read_mask(path, GRID)
    np.testing.assert_array_equal(mask, blob() == 1)
    assert mask.flags.c_contiguous


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_nifti_with_axes_flipped_or_permuted_is_the_same_mask(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    image = sitk.Flip(sitk.PermuteAxes(as_image(blob()), order), flips, flipAboutOrigin=False)
    assert image.GetDirection() != GRID.direction or (order, flips) == ((0, 1, 2), (False,) * 3)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.nii", image), GRID), blob() == 1)


def test_nifti_of_a_turned_ct(tmp_path: Path) -> None:
    turned = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (5.0, 1.0, 40.0), (0, -1, 0, 1, 0, 0, 0, 0, 1))
    path = save(tmp_path / "mask.nii", as_image(blob(), turned))
    np.testing.assert_array_equal(read_mask(path, turned), blob() == 1)
    with pytest.raises(Refusal, match="other_geometry"):
        read_mask(path, GRID)


@pytest.mark.parametrize(
    "grid",
    [
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (-10.1, -20.0, 30.0), IDENTITY),
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (-10.7, -20.0, 30.0), IDENTITY),
        Geometry(GRID.shape_zyx, (2.5, 0.8, 0.71), GRID.origin_xyz_mm, IDENTITY),
        Geometry((3, 20, 25), GRID.spacing_zyx_mm, GRID.origin_xyz_mm, IDENTITY),
        Geometry((6, 20, 24), (1.25, 0.8, 0.7), GRID.origin_xyz_mm, IDENTITY),
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (1, 0, 0, 0, -1, 0, 0, 0, 1)),
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)),
    ],
)
def test_nifti_on_another_grid_is_refused(tmp_path: Path, grid: Geometry) -> None:
    values = np.ones(grid.shape_zyx, np.uint8)
    with pytest.raises(Refusal) as caught:
        read_mask(save(tmp_path / "mask.nii", as_image(values, grid)), GRID)
    assert caught.value.code == "other_geometry"


def test_nifti_of_several_labels_needs_one_named(tmp_path: Path) -> None:
    labels = blob() * 2
    labels[2, 0, 0] = 5
    path = save(tmp_path / "mask.nii", as_image(labels))
    np.testing.assert_array_equal(place_label(Label(path, "", 2), GRID), blob() == 1)
    for label, code in ((None, "several_labels"), (3, "empty_roi")):
        with pytest.raises(Refusal) as caught:
            place_label(Label(path, "", label), GRID)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("values", "code"),
    [(blob() * 0, "empty_roi"), (blob() * 0.5, "mask_not_integer"), (blob() * np.nan, "mask_not_integer")],
)
def test_label_map_without_a_mask_is_refused(values: np.ndarray, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        select_label(values, "mask.nii", None)
    assert caught.value.code == code


def test_unreadable_and_four_dimensional_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.nii.gz").write_bytes(b"not a mask")
    with pytest.raises(Refusal, match="mask_unreadable"):
        read_mask(tmp_path / "mask.nii.gz", GRID)
    series = sitk.JoinSeries([as_image(blob()), as_image(blob())])
    with pytest.raises(Refusal, match="mask_not_3d"):
        read_mask(save(tmp_path / "series.nii", series), GRID)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("keep", [0, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_label_map_is_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    """ITK would fill what is missing with 0 and say nothing."""
    rng = np.random.default_rng(1)
    path = save(tmp_path / f"mask{suffix}", as_image(rng.integers(0, 2, GRID.shape_zyx).astype(np.uint8)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(Refusal, match="mask_truncated"):
        read_mask(path, GRID)


def test_one_byte_less_is_less(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.nii", as_image(blob()))
    content = path.read_bytes()
    assert nifti_size(content) == len(content) == 352 + 3 * 20 * 24
    path.write_bytes(content[:-1])
    with pytest.raises(Refusal, match="mask_truncated"):
        read_mask(path, GRID)
    path.with_suffix(".nii.gz").write_bytes(gzip.compress(content[:-1]))
    with pytest.raises(Refusal, match="mask_truncated"):
        read_mask(path.with_suffix(".nii.gz"), GRID)


@pytest.mark.parametrize("at", [-1, -5, 0.5])
def test_a_damaged_gzip_stream_is_refused(tmp_path: Path, at: float) -> None:
    """Its length (-1), its checksum (-5) or its contents."""
    path = save(tmp_path / "mask.nii.gz", as_image(np.random.default_rng(1).integers(0, 2, GRID.shape_zyx)))
    content = bytearray(path.read_bytes())
    content[int(at) if at < 0 else int(len(content) * at)] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(Refusal, match="mask_truncated"):
        read_mask(path, GRID)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_that_a_nifti_header_states(order: str) -> None:
    one = bytearray(352)
    struct.pack_into(f"{order}i", one, 0, 348)
    struct.pack_into(f"{order}8h", one, 40, 3, 5, 6, 7, 1, 1, 1, 1)
    struct.pack_into(f"{order}h", one, 72, 16)
    struct.pack_into(f"{order}f", one, 108, 352.0)
    assert nifti_size(bytes(one)) == 352 + 5 * 6 * 7 * 2
    assert nifti_size(b"no header") == nifti_size(b"") == 0


def test_itk_says_nothing_that_names_a_path(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "Smith.nii", as_image(blob()))
    patch(path, 284, "<f", 0.5)  # srow_x[1]: a sheared affine
    assert refused(path) == "mask_orientation_unclear"
    assert capfd.readouterr() == ("", "")


def patch(path: Path, offset: int, layout: str, *values: float) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


QFORM, SFORM, PIXDIM, QUATERNION, SROW, UNITS = 252, 254, 76, 256, 280, 123
TURNED = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (5.0, 1.0, 40.0), (0, -1, 0, 1, 0, 0, 0, 0, 1))


@pytest.mark.parametrize("grid", [GRID, TURNED])
@pytest.mark.parametrize("unset", [QFORM, SFORM, None])
def test_nifti_that_sets_one_affine_or_both_alike(tmp_path: Path, grid: Geometry, unset: int | None) -> None:
    path = save(tmp_path / "mask.nii", as_image(blob(), grid))
    if unset is not None:
        patch(path, unset, "<h", 0)
    np.testing.assert_array_equal(read_mask(path, grid), blob() == 1)


@pytest.mark.parametrize(
    ("changes", "grid"),
    [
        ([(QFORM, "<h", 0), (SFORM, "<h", 0)], GRID),  # ITK then invents axes
        ([(QFORM, "<h", 0), (SFORM, "<h", 0)], Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (0, 0, 0), IDENTITY)),
        ([(SROW + 12, "<f", 10.5)], GRID),  # sform a voxel to the left of the qform
        ([(SROW + 12, "<f", 10.7)], Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (-10.7, -20.0, 30.0), IDENTITY)),
        ([(QUATERNION + 12, "<f", 10.7)], GRID),
        ([(PIXDIM, "<f", -1.0)], GRID),  # the qform's z runs the other way
        ([(QFORM, "<h", 0), (SROW + 4, "<f", 0.3)], GRID),  # sheared: ITK takes the qform that is not set
        ([(UNITS, "B", 1)], GRID),  # metres
        ([(UNITS, "B", 3)], GRID),  # micrometres
        ([(SROW, "<f", float("nan"))], GRID),
    ],
)
def test_nifti_whose_place_is_unclear_is_refused(tmp_path: Path, changes: list[Any], grid: Geometry) -> None:
    path = save(tmp_path / "mask.nii", as_image(blob()))
    for offset, layout, value in changes:
        patch(path, offset, layout, value)
    assert refused(path, grid) in {"mask_orientation_unclear", "mask_unreadable"}  # the latter by ITK itself


def test_affines_that_agree_to_a_part_of_a_voxel_are_one(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "mask.nii", as_image(blob())), SROW + 12, "<f", 10.0 + 0.7 * 0.01)
    np.testing.assert_array_equal(read_mask(path), blob() == 1)


@pytest.mark.parametrize(("magic", "code"), [(b"ni1\0", "mask_detached"), (b"\0\0\0\0", "mask_unreadable")])
def test_analyze_and_pairs_of_files_are_refused(tmp_path: Path, magic: bytes, code: str) -> None:
    path = patch(save(tmp_path / "mask.nii", as_image(blob())), 344, "4s", magic)
    assert refused(path) == code


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_is_refused_by_name(tmp_path: Path, order: str) -> None:
    """ITK does not read it."""
    path = tmp_path / "mask.nii"
    path.write_bytes(struct.pack(f"{order}i", 540) + b"n+2\0\r\n\x1a\n" + bytes(600))
    assert refused(path) == "unsupported_mask_format"


def nrrd(path: Path, values: np.ndarray) -> Path:
    return write_nrrd(path.with_suffix(".nrrd"), values)


def zipped_nrrd(path: Path, values: np.ndarray) -> Path:
    return write_nrrd(path.with_suffix(".nrrd"), values, encoding="gzip")


def slicer(path: Path, values: np.ndarray) -> Path:
    return write_nrrd(path.with_suffix(".seg.nrrd"), values, encoding="gzip", keys=segment_keys(("GTV", 1, 0)))


def mha(path: Path, values: np.ndarray) -> Path:
    return write_mha(path.with_suffix(".mha"), values)


def zipped_mha(path: Path, values: np.ndarray) -> Path:
    return write_mha(path.with_suffix(".mha"), values, compressed=True)


WRITERS = [nrrd, zipped_nrrd, slicer, mha, zipped_mha]


@pytest.mark.parametrize("write", WRITERS)
def test_files_written_by_hand_lie_where_they_say(tmp_path: Path, write: Writer) -> None:
    np.testing.assert_array_equal(read_mask(write(tmp_path / "mask", blob())), blob() == 1)
    assert refused(write(tmp_path / "mask", blob()), TURNED) == "other_geometry"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("grid", [GRID, TURNED])
def test_files_written_by_itk(tmp_path: Path, suffix: str, grid: Geometry) -> None:
    path = save(tmp_path / f"mask{suffix}", as_image(blob() * 4, grid))
    np.testing.assert_array_equal(read_mask(path, grid), blob() == 1)
    sitk.WriteImage(as_image(blob() * 4, grid), str(path), True)  # compressed
    np.testing.assert_array_equal(read_mask(path, grid), blob() == 1)


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_cut_anywhere_never_gives_a_smaller_mask(tmp_path: Path, write: Writer) -> None:
    full = np.ones(GRID.shape_zyx, np.uint8)
    full[:, ::3] = np.random.default_rng(1).integers(0, 2, full[:, ::3].shape)
    path = write(tmp_path / "mask", full)
    whole = path.read_bytes()
    for keep in [*range(0, len(whole), 13), len(whole) - 1]:
        path.write_bytes(whole[:keep])
        with pytest.raises(Refusal):
            read_mask(path)


@pytest.mark.parametrize("write", [zipped_nrrd, slicer, zipped_mha])
def test_a_damaged_stream_is_refused(tmp_path: Path, write: Writer) -> None:
    values = np.random.default_rng(1).integers(0, 2, GRID.shape_zyx).astype(np.uint8)
    path = write(tmp_path / "mask", values)
    whole = path.read_bytes()
    start = len(whole) - 200
    for at in range(start, len(whole), 9):
        content = bytearray(whole)
        content[at] ^= 0x20
        path.write_bytes(content)
        with pytest.raises(Refusal):
            read_mask(path)


def test_a_second_stream_behind_the_first_is_refused(tmp_path: Path) -> None:
    """Readers differ in whether they go on reading."""
    path = zipped_nrrd(tmp_path / "mask", blob())
    header, _, data = path.read_bytes().partition(b"\n\n")
    half = blob().tobytes()
    path.write_bytes(header + b"\n\n" + gzip.compress(half[:700]) + gzip.compress(half[700:]))
    assert refused(path) == "mask_truncated"
    path.write_bytes(header + b"\n\n" + data)
    np.testing.assert_array_equal(read_mask(path), blob() == 1)


@pytest.mark.parametrize(
    ("space", "directions", "origin"),
    [
        ("left-posterior-superior", "(0.7,0,0) (0,0.8,0) (0,0,2.5)", "(-10,-20,30)"),
        ("LPS", "(0.7,0,0) (0,0.8,0) (0,0,2.5)", "(-10,-20,30)"),
        ("right-anterior-superior", "(-0.7,0,0) (0,-0.8,0) (0,0,2.5)", "(10,20,30)"),
        ("RAS", "(-0.7,0,0) (0,-0.8,0) (0,0,2.5)", "(10,20,30)"),
        ("left-anterior-superior", "(0.7,0,0) (0,-0.8,0) (0,0,2.5)", "(-10,20,30)"),
        ("LAS", "(0.7,0,0) (0,-0.8,0) (0,0,2.5)", "(-10,20,30)"),
    ],
)
def test_nrrd_in_each_patient_space(tmp_path: Path, space: str, directions: str, origin: str) -> None:
    path = tmp_path / "mask.nrrd"
    write_nrrd(path, blob(), place=f"space: {space}\n", directions=directions, origin=origin)
    np.testing.assert_array_equal(read_mask(path), blob() == 1)


@pytest.mark.parametrize(
    "place", ["", "space: scanner-xyz\n", "space: 3D-right-handed\n", "space: right-up\n", "space dimension: 3\n"]
)
def test_nrrd_in_no_patient_space_is_refused(tmp_path: Path, place: str) -> None:
    """ITK takes all of these for LPS."""
    assert refused(write_nrrd(tmp_path / "mask.nrrd", blob(), place=place)) == "mask_orientation_unclear"


def test_nrrd_of_a_tilted_ct(tmp_path: Path) -> None:
    tilted = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (1, 0, 0, 0, 1, 0.28, 0, 0, 0.96))
    path = write_nrrd(tmp_path / "mask.nrrd", blob(), directions="(0.7,0,0) (0,0.8,0) (0,0.7,2.4)")
    np.testing.assert_array_equal(read_mask(path, tilted), blob() == 1)
    assert refused(path) == "other_geometry"


def test_segments_of_slicer_by_name_overlapping_and_sharing_a_layer(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 3, (*GRID.shape_zyx, 2)).astype(np.uint8)
    keys = segment_keys(("GTV", 1, 0), ("node: left", 2, 0), ("Heart", 1, 1), ("nothing", 9, 1))
    path = write_nrrd(tmp_path / "mask.seg.nrrd", values, keys=keys)
    assert [one.name for one in read_labels(path)] == ["GTV", "node: left", "Heart", "nothing"]
    np.testing.assert_array_equal(read_mask(path, name="GTV"), values[..., 0] == 1)
    np.testing.assert_array_equal(read_mask(path, name="node: left"), values[..., 0] == 2)
    np.testing.assert_array_equal(read_mask(path, name="Heart"), values[..., 1] == 1)
    assert refused(path, name="nothing") == "empty_roi"


def test_segments_without_label_and_layer_are_layers_of_their_own(tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 2, (*GRID.shape_zyx, 2)).astype(np.uint8)
    keys = {"Segment0_ID": "GTV", "Segment1_ID": "Segment_2", "Segment1_Name": "Heart"}
    path = write_nrrd(tmp_path / "mask.seg.nrrd", values, keys=keys)
    np.testing.assert_array_equal(read_mask(path, name="GTV"), values[..., 0] == 1)
    np.testing.assert_array_equal(read_mask(path, name="Heart"), values[..., 1] == 1)
    path = write_nrrd(tmp_path / "mask.seg.nrrd", values[..., 0], keys=keys)
    assert refused(path, name="Heart") == "mask_unreadable"
    path = write_nrrd(tmp_path / "mask.seg.nrrd", values, keys={"Segment0_Name": "GTV", "Segment0_LabelValue": "x"})
    assert refused(path) == "mask_unreadable"


def test_a_segmentation_cropped_to_its_segments_is_put_back(tmp_path: Path) -> None:
    mask = np.zeros(GRID.shape_zyx, np.uint8)
    mask[1:3, 4:9, 6:13] = 1
    origin = GRID.index_to_physical((6, 4, 1))
    path = tmp_path / "mask.seg.nrrd"
    place = f"({','.join(map(str, origin.tolist()))})"
    write_nrrd(path, mask[1:3, 4:9, 6:13], origin=place, keys=segment_keys(("GTV", 1, 0)))
    np.testing.assert_array_equal(read_mask(path), mask == 1)
    # Without Slicer's keys nobody says that the file is a part of the CT.
    assert refused(write_nrrd(tmp_path / "mask.nrrd", mask[1:3, 4:9, 6:13], origin=place)) == "other_geometry"
    shifted = f"({origin[0] + 0.2},{origin[1]},{origin[2]})"
    write_nrrd(path, mask[1:3, 4:9, 6:13], origin=shifted, keys=segment_keys(("GTV", 1, 0)))
    assert refused(path) == "other_geometry"
    beyond = "(" + ",".join(map(str, GRID.index_to_physical((6, 17, 1)).tolist())) + ")"
    write_nrrd(path, mask[1:3, 4:9, 6:13], origin=beyond, keys=segment_keys(("GTV", 1, 0)))
    assert refused(path) == "roi_truncated"


@pytest.mark.parametrize("data", ["data file: mask.raw\n", "datafile: LIST\n"])
def test_a_detached_nrrd_header_says_what_to_do(tmp_path: Path, data: str) -> None:
    path = write_nrrd(tmp_path / "mask.nhdr", blob(), extra=data)
    with pytest.raises(Refusal, match=r"mask_detached.*save the mask as one \.nrrd"):
        read_labels(path)
    with pytest.raises(Refusal, match="mask_detached"):
        check_grid(Label(path, "mask"), GRID)
    header, _, _ = path.read_bytes().partition(b"\n\n")
    path.write_bytes(header)  # as such headers often are: nothing behind them, not even the empty line
    with pytest.raises(Refusal, match="mask_detached"):
        read_labels(path)


@pytest.mark.parametrize("file", ["mask.raw", "mask.zraw", "LIST", "mask_%03d.raw 1 3 1"])
def test_a_detached_metaimage_header_says_what_to_do(tmp_path: Path, file: str) -> None:
    path = write_mha(tmp_path / "mask.mhd", blob(), changes={"ElementDataFile": file})
    with pytest.raises(Refusal, match=r"mask_detached.*save the mask as one \.mha"):
        read_mask(path)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"TransformMatrix": None}, "mask_orientation_unclear"),
        ({"Offset": None}, "mask_orientation_unclear"),
        ({"ElementSpacing": None}, "mask_orientation_unclear"),
        ({"BinaryData": "False"}, "unsupported_mask_format"),
        ({"HeaderSize": "-1"}, "unsupported_mask_format"),
        ({"ElementType": "MET_STRING"}, "unsupported_mask_format"),
        ({"DimSize": "24 20 4"}, "other_geometry"),
        ({"ElementDataFile": None}, "mask_unreadable"),
    ],
)
def test_metaimages_that_do_not_say_enough_are_refused(tmp_path: Path, changes: Any, code: str) -> None:
    path = write_mha(tmp_path / "mask.mha", blob(), changes=changes)
    assert refused(path) == code


@pytest.mark.parametrize(
    ("extra", "encoding", "code"),
    [
        ("byte skip: -1\n", "raw", "unsupported_mask_format"),
        ("line skip: 2\n", "raw", "unsupported_mask_format"),
        ("", "bzip2", "unsupported_mask_format"),
        ("", "ascii", "unsupported_mask_format"),
    ],
)
def test_nrrd_of_other_encodings_is_refused(tmp_path: Path, extra: str, encoding: str, code: str) -> None:
    path = write_nrrd(tmp_path / "mask.nrrd", blob(), extra=extra, encoding=encoding)
    assert refused(path) == code


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"NRRD0004\n", b"NDims = 3\n", b"no mask", b"\x1f\x8b"])
def test_files_that_are_something_else_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(content)
    assert refused(path) in {"mask_unreadable", "mask_truncated"}


def test_a_file_name_that_is_no_text_does_not_end_the_process(tmp_path: Path) -> None:
    path = tmp_path / "m\udcd5.nii"
    try:
        path.write_bytes(save(tmp_path / "mask.nii", as_image(blob())).read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    assert refused(path) == "mask_unreadable"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pre.nii.gz", "pre"),
        ("pre.NII", "pre"),
        ("pre.reader2.seg.nrrd", "pre.reader2"),
        ("GTV 1.2.nrrd", "GTV 1.2"),
        ("post.mha", "post"),
        ("other.txt", "other.txt"),
    ],
)
def test_names_lose_their_endings(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_nothing_that_identifies_is_shown(tmp_path: Path) -> None:
    assert "Smith" not in repr(Label(tmp_path / "Smith.nii", "Smith"))
