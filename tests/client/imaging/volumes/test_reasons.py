"""What is left out, and for which code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.volumes import reasons
from fedescc.client.imaging.volumes.reasons import image_reasons, series_warnings

Slice = Callable[..., pydicom.Dataset]
SOURCES = ("reasons", "series", "geometry", "pixels", "volume", "damage", "mixing", "wholeness")


@pytest.fixture
def row(tmp_path: Path, ct_slice: Slice) -> Callable[..., DicomRow]:
    def build(**tags: Any) -> DicomRow:
        ct_slice(np.zeros((4, 5), np.uint16), **tags).save_as(tmp_path / "slice", enforce_file_format=True)
        return read_header(str(tmp_path), "slice")

    return build


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Modality": "PT"}, "modality_not_ct"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary_capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "not_ct_image"),
        ({"NumberOfFrames": 2, "Rows": 2}, "multi_frame"),
        ({"SOPClassUID": EnhancedCTImageStorage}, "multi_frame"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "not_monochrome"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not_monochrome"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "Columns": 1}, "not_monochrome"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "not_16_bit"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "Rows": 2}, "not_16_bit"),
        ({"BitsStored": 12, "HighBit": 15}, "unsupported_bit_layout"),
        ({"BitsStored": 0, "HighBit": 0}, "unsupported_bit_layout"),
        ({"ImagePositionPatient": None}, "missing_geometry"),
        ({"ImageOrientationPatient": None}, "missing_geometry"),
        ({"PixelSpacing": None}, "missing_geometry"),
        ({"RescaleSlope": None}, "missing_rescale"),
        ({"RescaleIntercept": None}, "missing_rescale"),
        ({"RescaleSlope": 0}, "invalid_rescale"),
        ({"RescaleSlope": -1}, "invalid_rescale"),
        *(({"RescaleType": kind}, "rescale_type_not_hu") for kind in ("ED", "Z_EFF", "MGML", "PCT", "HU_MOD")),
    ],
)
def test_what_is_no_ct_in_hu_is_refused(row: Callable[..., DicomRow], tags: dict[str, Any], code: str) -> None:
    assert code in image_reasons(row(**tags))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (["LOCALIZER"], "localizer"),
        (["LOCALIZER", "CT_SOM5 TOP"], "localizer"),
        (["REF_SURVIEW"], "localizer"),
        (["SCREEN SAVE"], "screen_save"),
        (["OTHER", "CT_SOM5 PROT"], "dose_report"),
        (["REFORMATTED", "AVERAGE"], "derived_reformat"),
        (["AXIAL", "CT_SOM5 MPR"], "derived_reformat"),
        (["CSA MPR THICK"], "derived_reformat"),
        (["CSA 3D EDITOR"], "derived_reformat"),
        (["VOLUME", "NONE", "MAX_IP"], "derived_reformat"),
        (["VOLUME", "RESAMPLED"], "derived_reformat"),
        (["PERFUSION", "CBF"], "perfusion_map"),
        (["AXIAL", "SUBTRACTION"], "pixel_arithmetic"),
        (["VOLUME", "STD_DEVIATION"], "pixel_arithmetic"),
        (["AXIAL", "IODINE"], "material_map"),
        (["AXIAL", "VNC"], "material_map"),
        (["AXIAL", "Z_EFF"], "material_map"),
        (["VOLUME", "MAT_SPECIFIC"], "material_map"),
        (["AXIAL", "MONOENERGETIC"], "monoenergetic"),
        (["AXIAL", "MONOE_40KEV"], "monoenergetic"),
        (["VOLUME", "VMI"], "monoenergetic"),
    ],
)
def test_image_type_tells_what_is_no_plain_slice(row: Callable[..., DicomRow], values: list[str], code: str) -> None:
    one = row(ImageType=["DERIVED", "SECONDARY", *values])
    assert image_reasons(one) == [code]
    assert image_reasons(one._replace(image_type=tuple(map(str.lower, one.image_type)))) == [code]


@pytest.mark.parametrize(
    "values",
    [
        ["AXIAL"],
        ["AXIAL", "CT_SOM5 SPI"],
        ["AXIAL", "CT_SOM5 SEQ"],
        ["AXIAL", "HELIX"],
        ["VOLUME", "NONE"],
        [],
        ["OTHER"],
    ],
)
def test_image_types_of_plain_slices_are_no_reason(row: Callable[..., DicomRow], values: list[str]) -> None:
    assert image_reasons(row(ImageType=["ORIGINAL", "PRIMARY", *values])) == []


def test_text_that_people_type_is_no_reason(row: Callable[..., DicomRow]) -> None:
    assert image_reasons(row(SeriesDescription="IODINE MIP MPR localizer dose report VNC")) == []


@pytest.mark.parametrize(
    ("padding", "warned"), [(-2000, False), (0, False), (60, False), (200, True), (1024, True), (32000, True)]
)
def test_padding_that_looks_like_tissue_is_warned_of(
    tmp_path: Path, ct_slice: Slice, padding: int, warned: bool
) -> None:
    dataset = ct_slice(np.zeros((4, 5), np.int16), PixelPaddingValue=None)
    dataset.add_new(0x00280120, "SS", padding)
    dataset.save_as(tmp_path / "slice", enforce_file_format=True)
    assert ("padding_above_air" in series_warnings([read_header(str(tmp_path), "slice")])) == warned


def test_every_code_is_documented(repository: Path) -> None:
    """Codes are the snake_case strings that the modules raise or list."""
    import re

    text = "".join(
        (repository / "client" / "imaging" / "volumes" / f"{name}.py").read_text(encoding="utf-8") for name in SOURCES
    )
    raised = set(re.findall(r'Refusal\(\s*"([a-z0-9_]+)"', text)) | set(
        re.findall(r'^        "([a-z0-9_]+)": ', text, re.M)
    )
    assert len(raised) > 30
    assert reasons.__doc__ is not None
    not_of_images = {"shape_mismatch", "not_int16", "rows", "columns", "number_of_frames", "samples_per_pixel"}
    options = {"photometric_interpretation", "planar_configuration", "bits_allocated", "bits_stored"}
    undocumented = {code for code in raised if not re.search(rf"\b{code}\b", reasons.__doc__)}
    assert undocumented <= not_of_images | options | {"pixel_representation", "pixel_keyword"}
