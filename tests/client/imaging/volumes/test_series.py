"""Which volumes a folder holds, and which are refused for what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from enhanced_ct import Groups, write_enhanced_ct

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.headers.index import RejectedFile, index_folder
from fedescc.client.imaging.headers.multiframe import frame_rows
from fedescc.client.imaging.volumes.geometry import Tilt
from fedescc.client.imaging.volumes.series import Series, group_series

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
    ct_series(tmp_path, PIXELS[:1] + 1, names=["again"])
    assert only(tmp_path).reasons == ("duplicate_slices",)
    (tmp_path / "again").unlink()
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
        {"PixelSpacing": [0.9, 0.9]},
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


def test_absent_file_that_a_directory_names_concerns_its_series(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "a", PIXELS)
    ct_series(tmp_path / "b", PIXELS, SeriesInstanceUID="1.9")
    lost = RejectedFile("a/0004", "missing_from_media", "PAT-1", "1.2.3.4")
    warned = [one.uid for one in group_series(index_folder(tmp_path).rows, [lost]) if one.warnings]
    assert warned == ["1.2.3.4"]


def test_a_whole_export_twice_is_one_volume_with_a_warning(tmp_path: Path, ct_series: Factory) -> None:
    for path in ct_series(tmp_path / "a", PIXELS):
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    series = only(tmp_path)
    assert (series.verdict, series.warnings) == ("accepted", ("duplicate_files_dropped",))
    assert [row.file for row in series.rows] == [f"a/000{k}" for k in range(4)]
    assert [row.file for row in series.copies] == [f"b/000{k}" for k in range(4)]
    assert series.files == 8


def test_copies_are_kept_with_the_volume_they_are_of(tmp_path: Path, ct_series: Factory) -> None:
    soft = ct_series(tmp_path / "soft", PIXELS, ConvolutionKernel="B30f")
    ct_series(tmp_path / "lung", PIXELS, ConvolutionKernel="B70f")
    (tmp_path / "again").write_bytes(soft[2].read_bytes())
    found = {one.rows[0].kernel: one for one in volumes(tmp_path)}
    assert {kernel: (one.verdict, len(one.copies)) for kernel, one in found.items()} == {
        "B30f": ("accepted", 1),
        "B70f": ("accepted", 0),
    }


@pytest.mark.parametrize("tilt", ["refuse", "correct"])
def test_gantry_tilt_is_corrected_only_where_asked(tmp_path: Path, ct_series: Factory, tilt: Tilt) -> None:
    lean = [1, 0, 0, 0, float(np.cos(0.2)), float(np.sin(0.2))]
    ct_series(tmp_path, PIXELS, ImageOrientationPatient=lean)
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [-10, -20, 30 + 2 * int(path.name)]
        dataset.save_as(path)
    (series,) = group_series(index_folder(tmp_path).rows, tilt=tilt)
    if tilt == "refuse":
        assert (series.reasons, series.geometry) == (("gantry_tilt",), None)
    else:
        assert series.geometry is not None
        assert (series.reasons, series.warnings) == ((), ("tilt_corrected",))
        assert series.geometry.tilt_deg == pytest.approx(np.degrees(0.2), abs=1e-4)


def test_bolus_tracking_is_left_out_and_spoils_nothing(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "ct", PIXELS)
    times = {"per_slice": lambda k: {"AcquisitionNumber": k}, "SeriesInstanceUID": "1.9"}
    ct_series(tmp_path / "bolus", np.zeros((9, 4, 5), np.uint16), gap=0.0, **times)
    found = {one.uid: one for one in volumes(tmp_path)}
    assert found["1.2.3.4"].verdict == "accepted"
    assert (found["1.9"].reasons, found["1.9"].geometry) == (("bolus_tracking",), None)


@pytest.mark.parametrize(
    ("tags", "code"),
    [({"SliceThickness": 1.0}, "gap_above_thickness"), ({"PixelPaddingValue": 1000}, "padding_above_air")],
)
def test_doubts_from_numbers_are_warned_of(tmp_path: Path, ct_series: Factory, tags: dict[str, Any], code: str) -> None:
    ct_series(tmp_path, PIXELS, **tags)
    assert (only(tmp_path).verdict, only(tmp_path).warnings) == ("accepted", (code,))


def test_every_second_slice_lost_is_warned_of(tmp_path: Path, ct_series: Factory) -> None:
    paths = ct_series(tmp_path, np.zeros((8, 4, 5), np.uint16), per_slice=lambda k: {"InstanceNumber": 7 - k})
    assert only(tmp_path).warnings == ()
    for path in paths[1::2]:
        path.unlink()
    assert (only(tmp_path).verdict, only(tmp_path).warnings) == ("accepted", ("instance_numbers_skip",))


def frames(path: Path, stored: np.ndarray, **options: Any) -> tuple[DicomRow, ...]:
    return frame_rows(read_header(str(path.parent), write_enhanced_ct(path, stored, **options).name))


def test_enhanced_multi_frame_is_accepted_as_one_file(tmp_path: Path) -> None:
    (series,) = group_series(frames(tmp_path / "e", PIXELS)[::-1])
    assert (series.verdict, series.reasons, series.warnings, series.files) == ("accepted", (), (), 1)
    assert [row.frame for row in series.rows] == [1, 2, 3, 4]
    assert series.geometry is not None
    assert series.geometry.shape_zyx == (4, 4, 5)
    assert series.geometry.spacing_zyx_mm == (2.0, 0.8, 0.7)


@pytest.mark.parametrize(
    "own",
    [
        lambda half: {"FrameContentSequence": {"TemporalPositionIndex": half}},
        lambda half: {"FrameContentSequence": {"FrameAcquisitionNumber": half}},
        lambda half: {"CTReconstructionSequence": {"ConvolutionKernel": f"B{half}0f"}},
        lambda half: {"CTImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", f"E{half}"]}},
    ],
)
def test_phases_of_a_multi_frame_object_are_parted(tmp_path: Path, own: Callable[[int], Groups]) -> None:
    def groups(k: int) -> Groups:
        place = {"PlanePositionSequence": {"ImagePositionPatient": [0, 0, 2.0 * (k // 2)]}}
        return place | own(3 + k % 2)

    parts = group_series(frames(tmp_path / "e", np.zeros((8, 4, 5), np.uint16), per_frame=groups))
    assert [(part.verdict, [row.frame for row in part.rows]) for part in parts] == [
        ("accepted", [1, 3, 5, 7]),
        ("accepted", [2, 4, 6, 8]),
    ]


def test_multi_frame_object_twice_is_one_volume(tmp_path: Path) -> None:
    rows = frames(tmp_path / "a", PIXELS) + frames(tmp_path / "b", PIXELS)
    (series,) = group_series(rows)
    assert (series.verdict, series.warnings, series.files) == ("accepted", ("duplicate_files_dropped",), 2)


def test_multi_frame_object_that_was_not_taken_apart_is_refused(tmp_path: Path) -> None:
    row = read_header(str(tmp_path), write_enhanced_ct(tmp_path / "e", PIXELS).name)
    (series,) = group_series([row])
    assert "multi_frame" in series.reasons


EIGHT = np.arange(8 * 20, dtype=np.uint16).reshape(8, 4, 5)
EVEN_ODD = {"AcquisitionDate": ("20240101", "20240401"), "KVP": (80, 140), "ContrastBolusAgent": ("", "IOHEXOL")}


def halves(keyword: str, values: tuple[Any, Any]) -> Callable[[int], dict[str, Any]]:
    """Slices 0 to 3 of one scan, 4 to 7 of another, each numbered from 1."""
    return lambda k: {keyword: values[k // 4], "InstanceNumber": 1 + k % 4}


@pytest.mark.parametrize("keyword", EVEN_ODD)
def test_scans_between_each_others_slices_never_make_one_thin_volume(
    tmp_path: Path, ct_series: Factory, keyword: str
) -> None:
    for k, name in enumerate("ab"):
        tags = {keyword: EVEN_ODD[keyword][k]}
        ct_series(tmp_path / name, EIGHT[k::2], origin=(-10, -20, 30 + k), SliceThickness=2, **tags)
    assert [one.geometry.spacing_zyx_mm[0] for one in volumes(tmp_path) if one.geometry] == [2.0, 2.0]


@pytest.mark.parametrize("keyword", EVEN_ODD)
def test_scans_that_abut_are_refused(tmp_path: Path, ct_series: Factory, keyword: str) -> None:
    ct_series(tmp_path, EIGHT, per_slice=halves(keyword, EVEN_ODD[keyword]))
    assert only(tmp_path).reasons == ("mixed_volume",)


def test_repeated_numbers_between_each_other_are_refused(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, EIGHT, per_slice=lambda k: {"InstanceNumber": 1 + k // 2})
    assert (only(tmp_path).reasons, only(tmp_path).warnings) == (
        ("ambiguous_interleave",),
        ("instance_numbers_repeat",),
    )


def test_every_second_slice_under_another_acquisition_is_no_volume(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, EIGHT, per_slice=lambda k: {"InstanceNumber": 1 + k, "AcquisitionNumber": k % 2})
    assert [one.reasons for one in volumes(tmp_path)] == [("ambiguous_interleave",)] * 2


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ConvolutionKernel": "B30f 1"},
        {"FrameOfReferenceUID": "1.9"},
        {"SeriesNumber": 9},
        {"StudyDate": "20240101"},
        {"PixelSpacing": [0.9, 0.9]},
        {"PixelSpacing": None},
        {"ImageOrientationPatient": None},
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_volume_that_a_tag_cuts_is_refused_whole(
    tmp_path: Path, ct_series: Factory, tags: dict[str, Any], first: bool
) -> None:
    ct_series(tmp_path, EIGHT, per_slice=lambda k: tags if (k < 2 if first else k > 5) else {})
    parts = volumes(tmp_path)
    assert len(parts) == 2
    assert all("volume_cut" in part.reasons for part in parts)


@pytest.mark.parametrize(
    ("keyword", "stated"),
    [
        ("FrameOfReferenceUID", "1.2.3.5"),
        ("ConvolutionKernel", "B30f"),
        ("SeriesNumber", 3),
        ("StudyDate", "20240101"),
        ("KVP", 120),
        ("AcquisitionNumber", 1),
        ("AcquisitionDate", "20240101"),
        ("Manufacturer", "GE"),
        ("AccessionNumber", "12"),
        ("SeriesDescription", "CHEST C+"),
        ("TemporalPositionIdentifier", 1),
        ("ContrastBolusAgent", "IOHEXOL"),
        ("SliceThickness", 2),
    ],
)
def test_what_a_few_images_do_not_state_parts_nothing(
    tmp_path: Path, ct_series: Factory, keyword: str, stated: Any
) -> None:
    ct_series(tmp_path, EIGHT, per_slice=lambda k: {"InstanceNumber": k, keyword: "" if k in {2, 5} else stated})
    (series,) = volumes(tmp_path)
    assert (series.reasons, series.geometry is not None and series.geometry.shape_zyx[0]) == ((), 8)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS:UserWarning")  # as scanners write it
def test_spelling_and_iterative_strength_part_nothing(tmp_path: Path, ct_series: Factory) -> None:
    spelled = ["CHEST C+", "chest  c+", "Chest C+ "]
    kernels = [["I30f", "3"], ["I30f", "2"]]
    types = [["ORIGINAL", "PRIMARY", "AXIAL", "0.25"], ["ORIGINAL", "PRIMARY", "AXIAL", "0.26"]]

    def tags(k: int) -> dict[str, Any]:
        return {
            "InstanceNumber": k,
            "SeriesDescription": spelled[k % 3],
            "ConvolutionKernel": kernels[k % 2],
            "ImageType": types[k % 2],
            "KVP": (120.4, 120.6)[k % 2],
        }

    ct_series(tmp_path, EIGHT, per_slice=tags)
    assert (only(tmp_path).reasons, only(tmp_path).warnings) == ((), ())


def test_a_second_reconstruction_that_reaches_further_cuts_nothing(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "soft", EIGHT[:6], ConvolutionKernel="B30f")
    ct_series(tmp_path / "lung", EIGHT, ConvolutionKernel="B70f")
    assert [one.verdict for one in volumes(tmp_path)] == ["accepted"] * 2


@pytest.mark.parametrize(
    ("origins", "found"),
    [
        ((30.0, 50.0), [("refused", 8, ("separate_scans",))]),
        ((30.0, 40.0), [("refused", 8, ("missing_slices",))]),
        ((30.0, 38.0), [("accepted", 8, ())]),
        ((30.0, 35.0), [("accepted", 4, ())] * 2),
    ],
)
def test_chest_and_abdomen(
    tmp_path: Path, ct_series: Factory, origins: tuple[float, float], found: list[tuple[str, int, tuple[str, ...]]]
) -> None:
    """Scanned one after the other: with a gap, with what may be a lost slice, without a gap, overlapping."""
    for k, z in enumerate(origins):
        ct_series(tmp_path / f"{k}", EIGHT[4 * k : 4 * k + 4], origin=(-10, -20, z), AcquisitionNumber=k)
    assert [(one.verdict, len(one.rows), one.reasons) for one in volumes(tmp_path)] == found


@pytest.mark.parametrize("keyword", ["SeriesDescription", "NominalPercentageOfCardiacPhase"])
def test_phases_are_told_apart_by_what_names_them(tmp_path: Path, ct_series: Factory, keyword: str) -> None:
    for phase in (0, 30, 60):
        value = f"{phase} %" if keyword == "SeriesDescription" else float(phase)
        ct_series(tmp_path / f"{phase}", PIXELS + phase, **{keyword: value})
    assert [(one.verdict, len(one.rows)) for one in volumes(tmp_path)] == [("accepted", 4)] * 3


def test_a_frame_of_reference_for_every_image_is_warned_of(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS, per_slice=lambda k: {"FrameOfReferenceUID": f"1.2.{k}"})
    assert (only(tmp_path).verdict, only(tmp_path).warnings) == ("accepted", ("frame_of_reference_varies",))


def test_lost_ends_are_warned_of(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS, per_slice=lambda k: {"InstanceNumber": k + 6}, ImagesInAcquisition=9)
    assert only(tmp_path).verdict == "accepted"
    assert only(tmp_path).warnings == ("fewer_images_than_stated", "instance_numbers_start_late")


def test_an_export_sent_again_under_new_uids_is_one_volume(tmp_path: Path, ct_series: Factory) -> None:
    for name in "ab":
        ct_series(tmp_path / name, EIGHT)
    assert (only(tmp_path).verdict, only(tmp_path).warnings) == ("accepted", ("duplicate_files_dropped",))
    assert {row.path.parent.name for row in only(tmp_path).copies} == {"b"}


@pytest.mark.parametrize(
    "own",
    [
        lambda half: {"FrameContentSequence": {"StackID": str(half)}},
        lambda half: {"FrameContentSequence": {"FrameAcquisitionDateTime": f"20240101101{half}00"}},
        lambda half: {"CTXRayDetailsSequence": {"KVP": 80.0 + 60 * half}},
        lambda half: {"ContrastBolusUsageSequence": {"ContrastBolusAgentAdministered": ("NO", "YES")[half]}},
    ],
)
def test_frames_of_two_scans_by_turns_are_no_volume(tmp_path: Path, own: Callable[[int], Groups]) -> None:
    rows = frames(tmp_path / "e", EIGHT, per_frame=lambda k: own(k % 2), ContrastBolusAgent="IOHEXOL")
    assert all(part.reasons == ("ambiguous_interleave",) for part in group_series(rows))


def test_stacks_numbered_each_on_its_own_are_parted(tmp_path: Path) -> None:
    def turns(k: int) -> Groups:
        return {"FrameContentSequence": {"StackID": str(k % 2), "InStackPositionNumber": 1 + k // 2}}

    parts = group_series(frames(tmp_path / "e", EIGHT, per_frame=turns))
    assert [(part.verdict, [row.frame for row in part.rows]) for part in parts] == [
        ("accepted", [1, 3, 5, 7]),
        ("accepted", [2, 4, 6, 8]),
    ]


def counted(k: int) -> dict[str, Any]:
    return {"InstanceNumber": 1 + k}


PARTED: list[tuple[str, tuple[Any, Any]]] = [
    ("ConvolutionKernel", ("B30f", "B31f")),
    ("FrameOfReferenceUID", ("", "1.2.3.5")),
    ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"])),
    ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY", "OTHER"])),
    ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL"], ["ORIGINAL", "PRIMARY"])),
    ("SeriesNumber", (3, None)),
    ("StudyDate", ("", "20240101")),
    ("PixelSpacing", ([0.7, 0.7], [0.72, 0.72])),
    ("PatientID", ("1", "0001")),
    ("StudyInstanceUID", ("1.2.3", "1.2.33")),
]


@pytest.mark.parametrize("number", [counted, lambda _: {"InstanceNumber": None}])
@pytest.mark.parametrize(("keyword", "values"), PARTED)
def test_every_other_slice_under_another_tag_is_no_volume(
    tmp_path: Path,
    ct_series: Factory,
    keyword: str,
    values: tuple[Any, Any],
    number: Callable[[int], dict[str, Any]],
) -> None:
    ct_series(tmp_path, EIGHT, SliceThickness=2, per_slice=lambda k: {keyword: values[k % 2]} | number(k))
    parts = volumes(tmp_path)
    assert [(len(part.rows), part.reasons) for part in parts] == [(4, ("ambiguous_interleave",))] * 2


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_one_uid_cut_between_studies_or_patients_is_refused(tmp_path: Path, ct_series: Factory, keyword: str) -> None:
    values = dict(PARTED)[keyword]
    ct_series(tmp_path, EIGHT, per_slice=lambda k: {keyword: values[k // 4]} | counted(k))
    assert [part.reasons for part in volumes(tmp_path)] == [("volume_cut",)] * 2


def test_a_cut_is_seen_across_a_lost_slice(tmp_path: Path, ct_series: Factory) -> None:
    files = ct_series(tmp_path, EIGHT, per_slice=lambda k: {"ConvolutionKernel": ("B30f", "B31f")[k // 5]} | counted(k))
    files[4].unlink()
    assert [(len(part.rows), part.reasons) for part in volumes(tmp_path)] == [
        (4, ("volume_cut",)),
        (3, ("volume_cut",)),
    ]


def test_scans_of_two_patients_between_each_others_slices_stay_two(tmp_path: Path, ct_series: Factory) -> None:
    for k, name in enumerate("AB"):
        ct_series(tmp_path / name, PIXELS, PatientID=name, SliceThickness=2, origin=(-10, -20, 30 + k))
    assert [part.verdict for part in volumes(tmp_path)] == ["accepted"] * 2


def test_reconstructions_at_half_a_gap_stay_two(tmp_path: Path, ct_series: Factory) -> None:
    """Each is whole: its slices touch, and are numbered from 1."""
    for k, kernel in enumerate(("B30f", "B70f")):
        ct_series(tmp_path / kernel, PIXELS, ConvolutionKernel=kernel, SliceThickness=2, origin=(-10, -20, 30 + k))
    assert [part.verdict for part in volumes(tmp_path)] == ["accepted"] * 2


def test_slices_of_two_thicknesses_are_warned_of(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, EIGHT, per_slice=lambda k: {"SliceThickness": 1 if k < 4 else 5} | counted(k))
    assert only(tmp_path).verdict == "accepted"
    assert "thickness_varies" in only(tmp_path).warnings
