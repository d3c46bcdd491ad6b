"""Written DICOM, read back with plain pydicom and a rasteriser of its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from fedescc.simulations.patients.contours import outlines
from fedescc.simulations.patients.dicom_writer import write_ct, write_rtstruct
from fedescc.simulations.patients.phantom import PhantomCase, Scan, phantom_case
from fedescc.simulations.patients.scanners import scanner

SEED = 11


@pytest.fixture(scope="module", params=range(5), ids="abcde")
def case(request: pytest.FixtureRequest) -> PhantomCase:
    return phantom_case(SEED, request.param, 1)


@pytest.fixture(scope="module")
def folder(case: PhantomCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both CTs and both RTSTRUCTs of one patient, whatever this site's habit."""
    root = tmp_path_factory.mktemp("dicom")
    for k in (0, 1):
        write_ct(root / str(k), case, k, SEED)
        write_rtstruct(root / str(k), case, k, SEED)
    return root


def slices(folder: Path) -> list[pydicom.FileDataset]:
    """CT slices towards the head."""
    read = [pydicom.dcmread(path) for path in sorted(folder.glob("IM*.dcm"))]
    return sorted(read, key=lambda data: float(data.ImagePositionPatient[2]))


def scan_of(case: PhantomCase, k: int) -> Scan:
    return (case.pre, case.post)[k]


@pytest.mark.parametrize("k", [0, 1])
def test_hu_round_trip(case: PhantomCase, folder: Path, k: int) -> None:
    read = slices(folder / str(k))
    hu = [d.pixel_array.astype(int) * int(d.RescaleSlope) + int(d.RescaleIntercept) for d in read]
    np.testing.assert_array_equal(np.stack(hu), scan_of(case, k).hu)


@pytest.mark.parametrize("k", [0, 1])
def test_geometry_round_trip_is_exact(case: PhantomCase, folder: Path, k: int) -> None:
    grid, read = scan_of(case, k).grid, slices(folder / str(k))
    heights = [float(d.ImagePositionPatient[2]) for d in read]
    assert tuple(float(v) for v in read[0].ImagePositionPatient) == grid.origin_xyz_mm
    assert set(np.diff(heights)) == {grid.spacing_zyx_mm[0]}
    for data in read:
        assert tuple(float(v) for v in data.PixelSpacing) == grid.spacing_zyx_mm[1:]
        assert [float(v) for v in data.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
        assert float(data.SliceLocation) == float(data.ImagePositionPatient[2])


@pytest.mark.parametrize("k", [0, 1])
def test_rtstruct_gives_back_the_exact_mask(case: PhantomCase, folder: Path, k: int) -> None:
    scan = scan_of(case, k)
    structure = pydicom.dcmread(folder / str(k) / "RS.dcm")
    np.testing.assert_array_equal(rasterised(structure, scan), scan.roi)


def test_rtstruct_names_and_references(case: PhantomCase, folder: Path) -> None:
    for k, name in enumerate(("GTV", "tumour_bed")):
        structure, ct = pydicom.dcmread(folder / str(k) / "RS.dcm"), slices(folder / str(k))
        assert structure.Modality == "RTSTRUCT"
        assert [roi.ROIName for roi in structure.StructureSetROISequence] == [name]
        assert structure.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == ct[0].FrameOfReferenceUID
        assert structure.StudyInstanceUID == ct[0].StudyInstanceUID
        frame = structure.ReferencedFrameOfReferenceSequence[0]
        series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        assert series.SeriesInstanceUID == ct[0].SeriesInstanceUID
        known = {data.SOPInstanceUID for data in ct}
        assert {image.ReferencedSOPInstanceUID for image in series.ContourImageSequence} == known
        for contour in structure.ROIContourSequence[0].ContourSequence:
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in known
            assert contour.NumberOfContourPoints * 3 == len(contour.ContourData)


def test_headers_say_what_the_site_is(case: PhantomCase, folder: Path) -> None:
    protocol = scanner(case.site)
    for k, scan in enumerate((case.pre, case.post)):
        for data in slices(folder / str(k)):
            assert data.SOPClassUID == pydicom.uid.CTImageStorage
            assert data.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID
            assert data.PatientID == case.patient_id
            assert data.StudyDate == scan.study_date.strftime("%Y%m%d")
            assert data.ContrastBolusAgent
            assert (data.Manufacturer, data.ConvolutionKernel) == (protocol.manufacturer, protocol.kernel)
            assert data.PixelRepresentation == int(protocol.signed)
            assert int(data.RescaleIntercept) == (0 if protocol.signed else -1024)


def test_instance_numbers_run_as_the_site_stores_them(case: PhantomCase, folder: Path) -> None:
    numbers = [int(data.InstanceNumber) for data in slices(folder / "0")]
    ascending = list(range(1, len(numbers) + 1))
    assert numbers == (ascending[::-1] if scanner(case.site).descending else ascending)
    for path in (folder / "0").glob("IM*.dcm"):
        assert int(path.stem[2:]) == pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber


def test_uids_are_valid_and_tell_studies_apart(folder: Path) -> None:
    every = [data for k in "01" for data in slices(folder / k)]
    instances = [data.SOPInstanceUID for data in every]
    assert len(set(instances)) == len(instances)
    assert all(uid.is_valid for uid in instances)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert len({getattr(data, keyword) for data in every}) == 2


def test_elements_are_in_ascending_order(folder: Path) -> None:
    """PS3.5 7.1: a data set is written in order of increasing tag."""
    data = pydicom.dcmread(next((folder / "0").glob("IM*.dcm")))
    tags = list(data._dict)
    assert tags == sorted(tags)


def test_bytes_depend_on_the_seed_alone(case: PhantomCase, folder: Path, tmp_path: Path) -> None:
    write_ct(tmp_path / "again", case, 0, SEED)
    write_rtstruct(tmp_path / "again", case, 0, SEED)
    write_ct(tmp_path / "other", case, 0, SEED + 1)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (folder / "0" / path.name).read_bytes()
    first = "IM0001.dcm"
    assert (tmp_path / "other" / first).read_bytes() != (folder / "0" / first).read_bytes()


def test_mask_with_a_hole_and_touching_corners_survives(tmp_path: Path) -> None:
    case = phantom_case(SEED, 0, 0)
    roi = np.zeros_like(case.pre.roi)
    roi[5, 10:20, 10:20] = True
    roi[5, 13:16, 13:16] = False
    roi[5, 20:22, 20:22] = True  # touches the square at one corner
    roi[6, 40, 40] = True
    odd = replace(case, pre=replace(case.pre, roi=roi))
    write_rtstruct(tmp_path, odd, 0, SEED)
    np.testing.assert_array_equal(rasterised(pydicom.dcmread(tmp_path / "RS.dcm"), odd.pre), roi)


def test_outline_of_one_pixel() -> None:
    plane = np.zeros((4, 5), bool)
    plane[1, 3] = True
    (polygon,) = outlines(plane)
    assert {tuple(point) for point in polygon} == {(0.5, 2.5), (0.5, 3.5), (1.5, 3.5), (1.5, 2.5)}


def test_outlines_keep_corners_only() -> None:
    plane = np.zeros((9, 9), bool)
    plane[2:7, 1:8] = True
    assert [len(polygon) for polygon in outlines(plane)] == [4]
    assert outlines(np.zeros((3, 3), bool)) == []


@settings(max_examples=60, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_outlines_rasterise_back_to_any_mask(plane: NDArray[np.bool_]) -> None:
    rows, columns = plane.shape
    back = np.zeros(plane.shape, bool)
    for polygon in outlines(plane):
        back ^= inside(polygon[:, 0], polygon[:, 1], np.arange(rows), np.arange(columns))
    np.testing.assert_array_equal(back, plane)


def rasterised(structure: pydicom.Dataset, scan: Scan) -> NDArray[np.bool_]:
    """Voxel centre inside, XOR per plane."""
    mask = np.zeros(scan.hu.shape, bool)
    z, y, x = scan.grid.axes()
    for contour in structure.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        assert len(set(points[:, 2])) == 1
        k = int(np.abs(z - points[0, 2]).argmin())
        assert z[k] == points[0, 2]
        mask[k] ^= inside(points[:, 1], points[:, 0], y, x)
    return mask


def inside(rows, columns, y, x) -> NDArray[np.bool_]:
    """Even-odd rule by counting crossings of a horizontal ray (Shimrat, CACM 5:434, 1962)."""
    result = np.zeros((len(y), len(x)), bool)
    for r0, c0, r1, c1 in zip(rows, columns, np.roll(rows, -1), np.roll(columns, -1), strict=True):
        if r0 == r1:
            continue
        spans = (min(r0, r1) <= y) & (y < max(r0, r1))
        crossing = c0 + (y - r0) / (r1 - r0) * (c1 - c0)
        result ^= spans[:, None] & (x[None, :] < crossing[:, None])
    return result
