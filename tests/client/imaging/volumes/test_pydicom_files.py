"""The verdict on every CT file that pydicom's own wheel carries; none of its files may raise."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import get_frame

from fedescc.client.imaging.headers.header import read_header
from fedescc.client.imaging.headers.index import FolderIndex, index_folder
from fedescc.client.imaging.inspection import inspect_folder
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.imaging.volumes.volume import hu_summary, open_volume, read_slice

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
CT2, CT2N, CT5N = (f"dicomdirtests/{name}" for name in ("77654033/CT2", "98892001/CT2N", "98892001/CT5N"))
TINY = "dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000"

# The images of each series -> reasons; warnings but those about damaged files, which lie beside most of them.
VERDICTS = {
    ("693_J2KI.dcm",): (("too_few_slices",), ("lossy_compression", "derived_image")),
    ("CT_small.dcm",): (("too_few_slices",), ()),
    ("J2K_pixelrep_mismatch.dcm",): (("too_few_slices",), ()),
    tuple(f"{CT2}/{n}" for n in (17106, 17136, 17166, 17196)): (("missing_slices",), ("instance_numbers_start_late",)),
    (f"{CT2N}/6293",): (("localizer", "too_few_slices"), ("several_volumes_in_series",)),
    (f"{CT2N}/6924",): (("localizer", "too_few_slices"), ("several_volumes_in_series",)),
    tuple(f"{CT5N}/{n}" for n in (2062, 2392, 2693, 3023, 3353)): ((), ("instance_numbers_start_late",)),
}
JPEG_2000 = {"693_J2KI.dcm": (-3995, 1812), "J2K_pixelrep_mismatch.dcm": (-2000, 1896)}


@pytest.fixture(scope="module")
def index() -> FolderIndex:
    return index_folder(FOLDER)


@pytest.fixture(scope="module")
def series(index: FolderIndex) -> tuple[Series, ...]:
    return group_series(index.rows, index.rejected)


def test_every_file_is_accounted_for(index: FolderIndex, series: tuple[Series, ...]) -> None:
    files = {row.file for one in series for row in one.rows + one.copies}
    files |= {mask.file for mask in index.masks} | {one.file for one in index.rejected}
    assert files == {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}


def test_every_ct_series_has_its_verdict(series: tuple[Series, ...]) -> None:
    found = {
        tuple(sorted(row.file for row in one.rows)): (
            one.reasons,
            tuple(code for code in one.warnings if code != "damaged_files_nearby"),
        )
        for one in series
        if one.rows[0].modality == "CT"
    }
    assert found == VERDICTS


def test_ct_headers_without_pixels_are_truncated_files(index: FolderIndex) -> None:
    tiny = {one.file: one.reason for one in index.rejected if one.file.startswith(TINY)}
    assert len(tiny) == 50
    assert set(tiny.values()) == {"truncated"}


def test_nothing_but_ct_is_accepted(series: tuple[Series, ...]) -> None:
    for one in series:
        assert one.rows[0].modality == "CT" or "modality_not_ct" in one.reasons


@pytest.mark.parametrize(("name", "extremes"), JPEG_2000.items())
def test_jpeg_2000_images_read_as_another_decoder_reads_them(name: str, extremes: tuple[int, int]) -> None:
    hu = read_slice(read_header(str(FOLDER), name))
    dataset = pydicom.dcmread(FOLDER / name)
    decoded = imagecodecs.jpeg2k_decode(get_frame(dataset.PixelData, 0)).astype(np.int64)
    bits = dataset.BitsStored
    signed = ((decoded + (1 << (bits - 1))) % (1 << bits)) - (1 << (bits - 1))
    np.testing.assert_array_equal(hu, signed + int(dataset.RescaleIntercept))
    assert (hu.min(), hu.max()) == extremes


def test_the_accepted_series_reads_as_pydicom_reads_it(series: tuple[Series, ...]) -> None:
    (accepted,) = (one for one in series if not one.reasons)
    volume = open_volume(accepted)
    datasets = sorted((pydicom.dcmread(row.path) for row in accepted.rows), key=lambda d: d.ImagePositionPatient[2])
    stored = np.stack([d.pixel_array * d.RescaleSlope + d.RescaleIntercept for d in datasets])
    np.testing.assert_array_equal(volume.slices(0, 5), stored)
    gaps = np.diff([float(d.ImagePositionPatient[2]) for d in datasets])
    assert volume.geometry.spacing_zyx_mm[0] == pytest.approx(gaps.mean())
    assert hu_summary(volume)["min"] == stored.min()


def test_the_whole_folder_can_be_inspected() -> None:
    report = inspect_folder(FOLDER)
    accepted = [one for one in report["series"] if one["verdict"] == "accepted"]
    assert [(one["files"], one["modality"]) for one in accepted] == [(5, "CT")]
    assert all(one["reasons"] for one in report["series"] if one["verdict"] == "refused")
    everything = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    named = {mask["source"] for mask in report["masks"]} | {one["file"] for one in report["rejected_files"]}
    assert sum(one["files"] for one in report["series"]) == len(everything - named)
