"""Functional groups of multi-frame CT, read as PS3.3 C.7.6.16 says."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from enhanced_ct import Groups, write_enhanced_ct
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, LegacyConvertedEnhancedCTImageStorage

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.headers.multiframe import MULTIFRAME_CT, frame_rows
from fedescc.common.errors import Refusal

STORED = np.arange(4 * 3 * 5, dtype=np.uint16).reshape(4, 3, 5)


def rows_of(path: Path) -> tuple[DicomRow, ...]:
    return frame_rows(read_header(str(path.parent), path.name))


def code_of(path: Path) -> str:
    with pytest.raises(Refusal) as caught:
        rows_of(path)
    assert "PAT-1" not in str(caught.value)
    return caught.value.code


def test_classes_are_the_two_enhanced_ct_classes_of_the_standard() -> None:
    names = {pydicom.uid.UID(uid).name for uid in MULTIFRAME_CT}
    assert names == {"Enhanced CT Image Storage", "Legacy Converted Enhanced CT Image Storage"}


def test_each_frame_is_a_row_with_its_own_place_and_the_shared_values(tmp_path: Path) -> None:
    whole = read_header(str(tmp_path), write_enhanced_ct(tmp_path / "e", STORED, gap=1.5).name)
    rows = frame_rows(whole)
    assert [row.frame for row in rows] == [1, 2, 3, 4]
    assert [row.position for row in rows] == [(-10.0, -20.0, 30 + 1.5 * k) for k in range(4)]
    assert [row.instance_number for row in rows] == [1, 2, 3, 4]
    one = rows[2]
    assert one.orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert one.pixel_spacing == (0.8, 0.7)
    assert (one.slope, one.intercept, one.rescale_type) == (1.0, -1024.0, "HU")
    assert one.image_type == ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
    assert (one.kernel, one.kvp, one.slice_thickness_mm) == ("B30f", 120.0, 2.5)
    same = ("sop_uid", "series_uid", "patient_id", "rows", "columns", "frames", "transfer_syntax", "has_pixels")
    assert all(getattr(one, name) == getattr(whole, name) for name in same)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", ExplicitVRBigEndian])
def test_offset_of_a_native_frame_is_where_its_pixels_are(tmp_path: Path, syntax: str) -> None:
    content = write_enhanced_ct(tmp_path / "e", STORED, syntax=syntax).read_bytes()
    for row, frame in zip(rows_of(tmp_path / "e"), STORED, strict=True):
        assert row.pixel_offset is not None
        dtype = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
        np.testing.assert_array_equal(np.frombuffer(content, dtype, 15, row.pixel_offset), frame.ravel())


def test_frames_of_encapsulated_and_deflated_files_keep_the_files_offset(tmp_path: Path) -> None:
    write_enhanced_ct(tmp_path / "rle", STORED, syntax="1.2.840.10008.1.2.5", frames=[b"0123"] * 4)
    whole = read_header(str(tmp_path), "rle")
    assert {row.pixel_offset for row in frame_rows(whole)} == {whole.pixel_offset}
    write_enhanced_ct(tmp_path / "deflated", STORED, syntax=DeflatedExplicitVRLittleEndian)
    assert {row.pixel_offset for row in rows_of(tmp_path / "deflated")} == {None}


def test_a_frames_own_group_wins_over_the_shared_one(tmp_path: Path) -> None:
    own: Groups = {
        "PlanePositionSequence": {"ImagePositionPatient": [0, 0, 7]},
        "PlaneOrientationSequence": {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]},
        "PixelMeasuresSequence": {"PixelSpacing": [1, 2], "SliceThickness": 9},
        "PixelValueTransformationSequence": {"RescaleSlope": 2, "RescaleIntercept": -8, "RescaleType": "US"},
        "CTReconstructionSequence": {"ConvolutionKernel": "B70f"},
    }
    first, second = rows_of(write_enhanced_ct(tmp_path / "e", STORED[:2], per_frame=lambda k: own if k else {}))
    assert (second.position, second.orientation) == ((0.0, 0.0, 7.0), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0))
    assert (second.pixel_spacing, second.slice_thickness_mm, second.kernel) == ((1.0, 2.0), 9.0, "B70f")
    assert (second.slope, second.intercept, second.rescale_type) == (2.0, -8.0, "US")
    assert (first.slope, first.kernel) == (1.0, "B30f")


def test_frame_content_tells_stack_place_time_and_acquisition(tmp_path: Path) -> None:
    def content(k: int) -> Groups:
        return {
            "FrameContentSequence": {
                "InStackPositionNumber": 4 - k,
                "TemporalPositionIndex": 1 + k % 2,
                "FrameAcquisitionNumber": 10 + k,
                "FrameAcquisitionDateTime": f"202401311200{k:02}.5",
                "StackID": f"{k // 2}",
            },
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, k]},
        }

    rows = rows_of(write_enhanced_ct(tmp_path / "e", STORED, per_frame=content))
    assert [row.instance_number for row in rows] == [4, 3, 2, 1]
    assert [row.temporal_position for row in rows] == [1, 2, 1, 2]
    assert [row.acquisition_number for row in rows] == [10, 11, 12, 13]
    assert {row.acquisition_date for row in rows} == {"20240131"}
    assert [row.acquisition_time for row in rows] == [f"12000{k}.5" for k in range(4)]
    assert [row.stack_id for row in rows] == ["0", "0", "1", "1"]


@pytest.mark.parametrize("cycle", ["Cardiac", "Respiratory"])
def test_phase_is_that_of_the_frame(tmp_path: Path, cycle: str) -> None:
    def phase(k: int) -> Groups:
        return {
            f"{cycle}SynchronizationSequence": {f"NominalPercentageOf{cycle}Phase": 10.0 * k},
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, k]},
        }

    rows = rows_of(write_enhanced_ct(tmp_path / "e", STORED, per_frame=phase))
    assert [row.phase_percent for row in rows] == [0.0, 10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("frame_type", "expected"),
    [
        ({"FrameType": ["DERIVED", "PRIMARY", "LOCALIZER"]}, ("DERIVED", "PRIMARY", "LOCALIZER")),
        (
            {
                "FrameType": ["DERIVED", "SECONDARY", "VOLUME", "NONE"],
                "VolumetricProperties": "VOLUME",
                "VolumeBasedCalculationTechnique": "MAX_IP",
            },
            ("DERIVED", "SECONDARY", "VOLUME", "NONE", "MAX_IP"),
        ),
        (
            {"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "VolumetricProperties": "DISTORTED"},
            ("ORIGINAL", "PRIMARY", "VOLUME", "NONE", "DISTORTED"),
        ),
        ({}, ("ORIGINAL", "PRIMARY", "MIXED")),
    ],
)
def test_image_type_is_the_frames(tmp_path: Path, frame_type: dict[str, Any], expected: tuple[str, ...]) -> None:
    groups: Groups = {"CTImageFrameTypeSequence": frame_type}
    path = write_enhanced_ct(tmp_path / "e", STORED, shared=groups, ImageType=["ORIGINAL", "PRIMARY", "MIXED"])
    assert {row.image_type for row in rows_of(path)} == {expected}


def test_contrast_agent_is_that_of_the_object_unless_the_frame_denies_it(tmp_path: Path) -> None:
    agent = pydicom.Dataset()
    agent.CodeMeaning = "Iohexol"

    def usage(k: int) -> Groups:
        given = {"ContrastBolusAgentAdministered": "YES" if k else "NO"}
        return {"ContrastBolusUsageSequence": given, "PlanePositionSequence": {"ImagePositionPatient": [0, 0, k]}}

    path = write_enhanced_ct(tmp_path / "e", STORED[:2], per_frame=usage, ContrastBolusAgentSequence=[agent])
    assert [row.contrast_agent for row in rows_of(path)] == ["", "Iohexol"]


def test_what_a_converter_left_unassigned_is_found(tmp_path: Path) -> None:
    path = write_enhanced_ct(
        tmp_path / "e",
        STORED[:2],
        SOPClassUID=LegacyConvertedEnhancedCTImageStorage,
        shared={
            "CTReconstructionSequence": None,
            "CTXRayDetailsSequence": None,
            "UnassignedSharedConvertedAttributesSequence": {"ConvolutionKernel": "STANDARD", "KVP": 100},
        },
        per_frame=lambda k: {
            "UnassignedPerFrameConvertedAttributesSequence": {
                "AcquisitionNumber": 3 + k,
                "ContrastBolusAgent": "yes",
                "AcquisitionDate": "20240131",
                "AcquisitionTime": f"12000{k}",
            },
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, k]},
        },
    )
    rows = rows_of(path)
    assert [row.acquisition_number for row in rows] == [3, 4]
    assert [(row.acquisition_date, row.acquisition_time) for row in rows] == [("20240131", f"12000{k}") for k in (0, 1)]
    assert {(row.kernel, row.kvp, row.contrast_agent) for row in rows} == {("STANDARD", 100.0, "yes")}


@pytest.mark.parametrize(
    ("sequence", "fields"),
    [
        ("PlaneOrientationSequence", ("orientation",)),
        ("PixelMeasuresSequence", ("pixel_spacing",)),
        ("PixelValueTransformationSequence", ("slope", "intercept")),
    ],
)
def test_missing_group_leaves_none_whatever_the_top_level_says(
    tmp_path: Path, sequence: str, fields: tuple[str, ...]
) -> None:
    path = write_enhanced_ct(
        tmp_path / "e",
        STORED,
        shared={sequence: None},
        RescaleSlope=1,
        RescaleIntercept=0,
        PixelSpacing=[1, 1],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    )
    assert {getattr(row, field) for row in rows_of(path) for field in fields} == {None}


def test_objects_that_do_not_describe_their_frames_are_refused_by_name(tmp_path: Path) -> None:
    write = write_enhanced_ct
    assert code_of(write(tmp_path / "a", STORED, PerFrameFunctionalGroupsSequence=None)) == "missing_functional_groups"
    assert code_of(write(tmp_path / "b", STORED, NumberOfFrames=3)) == "frame_count_mismatch"
    part = {"ConcatenationUID": "1.2.7", "InConcatenationNumber": 1}
    assert code_of(write(tmp_path / "c", STORED, **part, InConcatenationTotalNumber=2)) == "concatenation"
    assert code_of(write(tmp_path / "d", STORED, **part)) == "concatenation"
    assert len(rows_of(write(tmp_path / "e", STORED, **part, InConcatenationTotalNumber=1))) == 4


def test_groups_that_cannot_be_parsed_are_refused(tmp_path: Path) -> None:
    path = write_enhanced_ct(tmp_path / "e", STORED)
    row = read_header(str(tmp_path), "e")
    whole = path.read_bytes()
    start = whole.index(b"\x00\x52\x30\x92SQ")
    path.write_bytes(whole[: start + 4] + b"UT" + whole[start + 6 :])
    with pytest.raises(Refusal, match="unreadable_functional_groups"):
        frame_rows(row)


def test_damaged_number_is_none_rather_than_an_error(tmp_path: Path) -> None:
    path = write_enhanced_ct(tmp_path / "e", STORED)
    path.write_bytes(path.read_bytes().replace(b"0.8\\0.7 ", b"0.8\\0.x "))
    assert {row.pixel_spacing for row in rows_of(path)} == {None}
