"""Which volumes a folder holds, and which are refused for what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from fedescc.client.imaging.index import index_folder
from fedescc.client.imaging.series import Series, group_series

Factory = Callable[..., list[Path]]
PIXELS = np.zeros((4, 4, 5), dtype=np.uint16)


def volumes(folder: Path) -> tuple[Series, ...]:
    return group_series(index_folder(folder).rows)


def only(folder: Path) -> Series:
    (series,) = volumes(folder)
    return series


def test_series_is_accepted_with_slices_in_order(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS, names=["d", "a", "c", "b"])
    series = only(tmp_path)
    assert (series.verdict, series.reasons, series.warnings) == ("accepted", (), ())
    assert [row.file for row in series.rows] == ["d", "a", "c", "b"]
    assert series.geometry is not None
    assert series.geometry.shape_zyx == (4, 4, 5)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Modality": "PT"}, "modality_not_ct"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary_capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "not_ct_image"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "derived_reformat"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MPR"]}, "derived_reformat"),
        ({"NumberOfFrames": 2, "Rows": 2}, "multi_frame"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "not_monochrome"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "Columns": 1}, "not_monochrome"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "not_16_bit"),
        ({"BitsStored": 12, "HighBit": 15}, "unsupported_bit_layout"),
        ({"ImagePositionPatient": None}, "missing_geometry"),
        ({"PixelSpacing": None}, "missing_geometry"),
        ({"RescaleSlope": None}, "missing_rescale"),
        ({"RescaleIntercept": None}, "missing_rescale"),
        ({"RescaleSlope": 0}, "invalid_rescale"),
        ({"RescaleType": "ED"}, "rescale_type_not_hu"),
    ],
)
def test_what_is_no_axial_ct_in_hu_is_refused(
    tmp_path: Path, ct_series: Factory, tags: dict[str, Any], code: str
) -> None:
    ct_series(tmp_path, PIXELS, per_slice=lambda _: tags)
    assert code in only(tmp_path).reasons


def test_image_without_pixels_is_refused(tmp_path: Path, ct_slice: Callable[..., pydicom.Dataset]) -> None:
    dataset = ct_slice(PIXELS[0], ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    del dataset.PixelData
    dataset.save_as(tmp_path / "dose", enforce_file_format=True)
    assert only(tmp_path).reasons[0] == "no_pixel_data"


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"LossyImageCompression": "01"}, "lossy_compression"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "derived_image"),
        ({"SeriesInstanceUID": ""}, "missing_series_uid"),
        ({"RescaleType": "US"}, "rescale_type_unspecified"),
    ],
)
def test_doubtful_series_is_accepted_with_a_warning(
    tmp_path: Path, ct_series: Factory, tags: dict[str, Any], code: str
) -> None:
    ct_series(tmp_path, PIXELS, **tags)
    assert (only(tmp_path).verdict, only(tmp_path).warnings) == ("accepted", (code,))


def test_thick_overlapping_slices_are_accepted(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS, gap=2.0, SliceThickness=5)
    assert only(tmp_path).verdict == "accepted"


def test_missing_and_duplicate_slices_are_refused(tmp_path: Path, ct_series: Factory) -> None:
    paths = ct_series(tmp_path, PIXELS)
    copy = tmp_path / "copy"
    copy.write_bytes(paths[1].read_bytes())
    assert only(tmp_path).reasons == ("duplicate_slices",)
    copy.unlink()
    paths[1].unlink()
    assert only(tmp_path).reasons == ("missing_slices",)


def test_missing_slice_is_not_hidden_by_a_change_of_acquisition(tmp_path: Path, ct_series: Factory) -> None:
    paths = ct_series(tmp_path, np.zeros((5, 4, 5), np.uint16), per_slice=lambda k: {"AcquisitionNumber": 1 + (k > 2)})
    paths[2].unlink()
    assert only(tmp_path).reasons == ("missing_slices",)


@pytest.mark.parametrize(
    "second",
    [
        {"AcquisitionNumber": 2},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "OTHER"]},
        {"TemporalPositionIdentifier": 2},
        {"ConvolutionKernel": "B70f"},
    ],
)
def test_two_volumes_in_one_place_under_one_uid_are_parted(
    tmp_path: Path, ct_series: Factory, second: dict[str, Any]
) -> None:
    ct_series(tmp_path / "a", PIXELS, AcquisitionNumber=1)
    ct_series(tmp_path / "b", PIXELS, **({"AcquisitionNumber": 1} | second))
    parts = volumes(tmp_path)
    assert [(part.verdict, len(part.rows)) for part in parts] == [("accepted", 4)] * 2
    assert all(part.warnings == ("several_volumes_in_series",) for part in parts)
    assert [{row.path.parent.name for row in part.rows} for part in parts] == [{"a"}, {"b"}]


@pytest.mark.parametrize(
    "stray",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"orientation": (0, 1, 0, 0, 0, -1)},
        {"Rows": 5, "Columns": 4},
        {"FrameOfReferenceUID": "1.2.3.6"},
    ],
)
def test_stray_image_under_the_uid_does_not_spoil_the_volume(
    tmp_path: Path, ct_series: Factory, stray: dict[str, Any]
) -> None:
    ct_series(tmp_path / "a", PIXELS)
    ct_series(tmp_path / "b", PIXELS[:1], per_slice=lambda _: {k: v for k, v in stray.items() if k != "orientation"},
              orientation=stray.get("orientation", (1, 0, 0, 0, 1, 0)))  # fmt: skip
    assert sorted((part.verdict, len(part.rows)) for part in volumes(tmp_path)) == [("accepted", 4), ("refused", 1)]


def test_one_uid_given_to_two_patients_makes_two_series(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "a", PIXELS, PatientID="A")
    ct_series(tmp_path / "b", PIXELS, PatientID="B")
    assert [part.verdict for part in volumes(tmp_path)] == ["accepted", "accepted"]


def test_emptied_uids_are_told_apart_by_folder(tmp_path: Path, ct_series: Factory) -> None:
    for name in ("a", "b"):
        ct_series(tmp_path / name, PIXELS, SeriesInstanceUID="", StudyInstanceUID="", PatientID="")
    assert [part.verdict for part in volumes(tmp_path)] == ["accepted", "accepted"]


def test_every_row_is_in_exactly_one_series(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "a", PIXELS)
    ct_series(tmp_path / "b", PIXELS, Modality="MR", ImagePositionPatient=None)
    ct_series(tmp_path / "c", PIXELS, orientation=(0, 1, 0, 0, 0, -1))
    index = index_folder(tmp_path)
    files = [row.file for series in group_series(index.rows) for row in series.rows]
    assert sorted(files) == [row.file for row in index.rows]


def test_series_beside_a_damaged_file_is_accepted_with_a_warning(tmp_path: Path, ct_series: Factory) -> None:
    last = ct_series(tmp_path / "a", PIXELS)[-1]
    last.write_bytes(last.read_bytes()[:-1])
    ct_series(tmp_path / "b", PIXELS, SeriesInstanceUID="1.9")
    (tmp_path / "b" / "readme.txt").write_text("no image, and no harm", encoding="utf-8")
    index = index_folder(tmp_path)
    beside, apart = group_series(index.rows, index.rejected)
    assert (beside.verdict, len(beside.rows), beside.warnings) == ("accepted", 3, ("damaged_files_nearby",))
    assert (apart.verdict, len(apart.rows), apart.warnings) == ("accepted", 4, ())


def test_slices_of_two_patients_without_identifier_are_not_one_volume(tmp_path: Path, ct_series: Factory) -> None:
    """An anonymiser that empties PatientID and gives the same UIDs; together the slices would be a whole stack."""
    ct_series(tmp_path / "A" / "ct", PIXELS, PatientID="")
    ct_series(tmp_path / "B" / "ct", PIXELS, PatientID="", origin=(-10.0, -20.0, 38.0))
    parts = volumes(tmp_path)
    assert [(part.verdict, len(part.rows)) for part in parts] == [("accepted", 4), ("accepted", 4)]
    assert [{row.path.parent.parent.name for row in part.rows} for part in parts] == [{"A"}, {"B"}]


def near(folder: Path) -> set[str]:
    index = index_folder(folder)
    found = group_series(index.rows, index.rejected)
    return {one.rows[0].patient_id + one.uid for one in found if "damaged_files_nearby" in one.warnings}


@pytest.fixture
def flat(tmp_path: Path, ct_series: Factory) -> Path:
    """Two patients, the first with two series, in one folder."""
    for patient, uid in (("A", "1"), ("A", "2"), ("B", "3")):
        names = [f"{patient}{uid}{k}.dcm" for k in range(4)]
        ct_series(tmp_path, PIXELS, PatientID=patient, SeriesInstanceUID=uid, names=names)
    return tmp_path


def test_a_truncated_file_concerns_the_series_that_it_names(flat: Path) -> None:
    assert near(flat) == set()
    path = flat / "A13.dcm"
    whole = path.read_bytes()
    pixels, uid = whole.rindex(b"\xe0\x7f\x10\x00"), whole.rindex(b"\x20\x00\x0e\x00")
    for keep in (len(whole) - 1, pixels, pixels - 30, uid + 40):
        path.write_bytes(whole[:keep])
        assert near(flat) == {"A1"}, keep
    patient = whole.rindex(b"\x10\x00\x20\x00")
    for keep, expected in ((uid - 1, {"A1", "A2"}), (patient + 3, {"A1", "A2", "B3"}), (300, {"A1", "A2", "B3"})):
        path.write_bytes(whole[:keep])
        assert near(flat) == expected, keep


@pytest.mark.parametrize(
    ("name", "content", "concerns"),
    [
        ("x.dcm", b"", True),
        ("x.dcm", b"garbage" * 99, True),
        ("x", bytes(2000), True),
        ("readme.txt", b"read me", False),
        (".nomedia", b"", False),
    ],
)
def test_a_file_that_says_nothing_concerns_its_whole_folder(
    flat: Path, ct_series: Factory, name: str, content: bytes, concerns: bool
) -> None:
    ct_series(flat / "other", PIXELS, PatientID="C", SeriesInstanceUID="4", names=[f"{k}.dcm" for k in range(4)])
    (flat / name).write_bytes(content)
    assert near(flat) == ({"A1", "A2", "B3"} if concerns else set())
