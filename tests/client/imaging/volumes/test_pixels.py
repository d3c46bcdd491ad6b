"""Stored values from every encoding a hospital uses, and from single frames."""

import re
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from enhanced_ct import write_enhanced_ct
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.headers.multiframe import frame_rows
from fedescc.client.imaging.volumes.pixels import _decoder, stored_values
from fedescc.client.imaging.volumes.reasons import series_warnings
from fedescc.common.errors import Refusal

Slice = Callable[..., pydicom.Dataset]
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RNG = np.random.default_rng(7)
FRAMES = RNG.integers(0, 4096, (5, 40, 33)).astype(np.uint16)

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    HTJ2KLossless: lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    HTJ2KLosslessRPCL: lambda a: imagecodecs.htj2k_encode(a, reversible=True, tlm=True),
    HTJ2K: lambda a: imagecodecs.htj2k_encode(a, reversible=True),
    JPEG2000Lossless: lambda a: bytes(encode_array(a, photometric_interpretation=2)),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEGLossless: lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16),
}


def saved(folder: Path, dataset: pydicom.Dataset) -> DicomRow:
    dataset.save_as(folder / "slice", enforce_file_format=True)
    return read_header(str(folder), "slice")


def compressed(dataset: pydicom.Dataset, syntax: str, *frames: bytes) -> pydicom.Dataset:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    return dataset


def code_of(row: DicomRow) -> str:
    with pytest.raises(Refusal) as caught:
        stored_values(row)
    return caught.value.code


# The JPEG lossless encoder takes unsigned values only; real signed ones are among the shared data.
CASES = [(syntax, signed) for syntax in ENCODERS for signed in (False, True) if not (signed and syntax == JPEGLossless)]


@pytest.mark.parametrize(
    ("syntax", "signed"), CASES, ids=lambda value: UID(value).keyword if value in ENCODERS else None
)
def test_every_lossless_encoding_gives_back_the_values(
    tmp_path: Path, ct_slice: Slice, syntax: str, signed: bool
) -> None:
    stored = FRAMES[0].astype(np.int16) - 2048 if signed else FRAMES[0]
    words = stored.view(np.uint16) if syntax == JPEGLSLossless else stored
    row = saved(tmp_path, compressed(ct_slice(stored), syntax, ENCODERS[syntax](words)))
    values = stored_values(row)
    assert values.dtype.kind == stored.dtype.kind
    np.testing.assert_array_equal(values, stored)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, JPEG2000Lossless], ids=["htj2k", "j2k"])
def test_twelve_bits_signed_by_the_header_and_unsigned_in_the_codestream(
    tmp_path: Path, ct_slice: Slice, syntax: str
) -> None:
    """The mismatch of J2K_pixelrep_mismatch.dcm, made by hand: two's complement in an unsigned codestream."""
    y, x = np.mgrid[:40, :40]
    stored = (-1000 + 500 * np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 90)).astype(np.int16)
    wrapped = (stored & 0x0FFF).astype(np.uint16)
    if syntax == JPEG2000Lossless:
        code = bytes(encode_array(wrapped, photometric_interpretation=2, bits_stored=12))
    else:
        code = imagecodecs.htj2k_encode(wrapped, reversible=True)
    dataset = ct_slice(stored, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(stored_values(saved(tmp_path, compressed(dataset, syntax, code))), stored)


def test_signed_pixels_in_an_unsigned_codestream_are_signed() -> None:
    values = stored_values(read_header(str(PYDICOM_FILES), "J2K_pixelrep_mismatch.dcm"))
    assert values.dtype == np.int16
    assert (values[0, 0], values.min()) == (-2000, -2000)
    # The values in pydicom's own test of this file.
    assert values[47:57, 279].tolist() == [621, 412, 138, -193, -520, -767, -907, -966, -988, -995]
    assert values[328:338, 106].tolist() == [-377, -121, 141, 383, 633, 910, 1198, 1455, 1638, 1732]


def test_lossy_high_throughput_jpeg_2000_is_close_and_flagged(tmp_path: Path, ct_slice: Slice) -> None:
    y, x = np.mgrid[:64, :64]
    stored = (1000 + 300 * np.sin(x / 9) + 200 * np.cos(y / 7)).astype(np.uint16)
    code = imagecodecs.htj2k_encode(stored, level=0.0001, reversible=False)
    row = saved(tmp_path, compressed(ct_slice(stored), HTJ2K, code))
    assert np.abs(stored_values(row).astype(int) - stored).max() <= 16
    assert "lossy_compression" in series_warnings([row])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_frames(tmp_path: Path, syntax: str) -> None:
    rows = frame_rows(read_header(str(tmp_path), write_enhanced_ct(tmp_path / "e", FRAMES, syntax=syntax).name))
    for row, frame in zip(rows, FRAMES, strict=True):
        np.testing.assert_array_equal(stored_values(row), frame)


def test_deflated_frames(tmp_path: Path) -> None:
    name = write_enhanced_ct(tmp_path / "e", FRAMES, syntax=DeflatedExplicitVRLittleEndian).name
    for row, frame in zip(frame_rows(read_header(str(tmp_path), name)), FRAMES, strict=True):
        np.testing.assert_array_equal(stored_values(row), frame)


def encapsulated(folder: Path, **options: Any) -> tuple[DicomRow, ...]:
    """An object whose compressed frames of several fragments are packed as encapsulate's options say."""
    codes = [imagecodecs.htj2k_encode(frame, reversible=True) for frame in FRAMES]
    path = write_enhanced_ct(folder / "e", FRAMES, syntax=HTJ2KLossless, frames=codes)
    dataset = pydicom.dcmread(path)
    if options.pop("extended", False):
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(codes)
    else:
        dataset.PixelData = encapsulate(codes, **options)
    dataset.save_as(path)
    return frame_rows(read_header(str(folder), "e"))


@pytest.mark.parametrize(
    "options",
    [
        {"has_bot": True},
        {"has_bot": False},
        {"has_bot": True, "fragments_per_frame": 3},
        {"extended": True},
    ],
    ids=["offsets", "no offsets", "three fragments a frame", "extended offsets"],
)
def test_encapsulated_frames(tmp_path: Path, options: dict[str, Any]) -> None:
    for row, frame in zip(encapsulated(tmp_path, **options), FRAMES, strict=True):
        np.testing.assert_array_equal(stored_values(row), frame)


def test_fragments_that_cannot_be_assigned_are_refused(tmp_path: Path) -> None:
    rows = encapsulated(tmp_path, has_bot=False, fragments_per_frame=3)
    assert {code_of(row) for row in rows} == {"fragments_ambiguous"}


def test_a_single_image_is_all_its_fragments(tmp_path: Path, ct_slice: Slice) -> None:
    code = ENCODERS[JPEG2000Lossless](FRAMES[0])
    dataset = compressed(ct_slice(FRAMES[0]), JPEG2000Lossless, code)
    dataset.PixelData = encapsulate([code], fragments_per_frame=3, has_bot=False)
    np.testing.assert_array_equal(stored_values(saved(tmp_path, dataset)), FRAMES[0])


JPEG_XL, MPEG4 = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.102"


@pytest.mark.parametrize("syntax", [JPEG_XL, MPEG4, "1.2.840.113619.5.2"])
def test_a_syntax_without_a_decoder_has_a_code_of_its_own(tmp_path: Path, ct_slice: Slice, syntax: str) -> None:
    """The last is GE's private one, whose pixels are big endian in a little endian file."""
    row = saved(tmp_path, compressed(ct_slice(FRAMES[0]), JPEG2000Lossless, ENCODERS[JPEG2000Lossless](FRAMES[0])))
    assert code_of(row._replace(transfer_syntax=syntax)) == "unsupported_compression"


def test_eight_stored_bits_in_sixteen_are_read(tmp_path: Path, ct_slice: Slice) -> None:
    """The decoder gives single bytes then, of which no bit is unused."""
    stored = FRAMES[0] >> 4
    code = imagecodecs.jpegls_encode(stored.astype(np.uint8))
    row = saved(tmp_path, compressed(ct_slice(stored, BitsStored=8, HighBit=7), JPEGLSLossless, code))
    np.testing.assert_array_equal(stored_values(row), stored)


def test_a_deflated_file_is_inflated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_enhanced_ct(tmp_path / "e", FRAMES, syntax=DeflatedExplicitVRLittleEndian).name
    rows = frame_rows(read_header(str(tmp_path), name))
    read: list[Path] = []
    whole = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda path, **options: read.append(path) or whole(path, **options))
    for row, frame in zip(rows, FRAMES, strict=True):
        np.testing.assert_array_equal(stored_values(row), frame)
    assert len(read) == 1
    write_enhanced_ct(tmp_path / "e", FRAMES[::-1], syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(stored_values(rows[0]), FRAMES[-1])


def test_only_the_frames_own_bytes_are_decoded(tmp_path: Path) -> None:
    rows = encapsulated(tmp_path)
    path = tmp_path / "e"
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\x4f\xff\x51", content)]
    assert len(starts) == 5
    for start in (*starts[:2], *starts[3:]):
        content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    np.testing.assert_array_equal(stored_values(rows[2]), FRAMES[2])
    assert code_of(rows[1]) == "pixel_decode_failed"


def test_a_file_that_changed_is_read_as_it_is_now(tmp_path: Path) -> None:
    """The table of fragments that is kept is that of this very file."""
    rows = encapsulated(tmp_path)
    np.testing.assert_array_equal(stored_values(rows[4]), FRAMES[4])
    rows = encapsulated(tmp_path, has_bot=True, fragments_per_frame=2)
    np.testing.assert_array_equal(stored_values(rows[4]), FRAMES[4])


def test_rle_frames(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_enhanced_ct(tmp_path / "e", FRAMES))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "e")
    for row, frame in zip(frame_rows(read_header(str(tmp_path), "e")), FRAMES, strict=True):
        np.testing.assert_array_equal(stored_values(row), frame)


DISTRIBUTIONS = {
    "gdcm": "python-gdcm",
    "pylibjpeg": "pylibjpeg-openjpeg",
    "pyjpegls": "pyjpegls",
    "pydicom": "pydicom",
}
PLUGINS = {
    "JPEGBaseline8Bit": {"gdcm"},
    "JPEGExtended12Bit": {"gdcm"},
    "JPEGLossless": {"gdcm"},
    "JPEGLosslessSV1": {"gdcm"},
    "JPEGLSLossless": {"gdcm", "pyjpegls"},
    "JPEGLSNearLossless": {"gdcm", "pyjpegls"},
    "JPEG2000Lossless": {"gdcm", "pylibjpeg"},
    "JPEG2000": {"gdcm", "pylibjpeg"},
    "HTJ2KLossless": {"pylibjpeg"},
    "HTJ2KLosslessRPCL": {"pylibjpeg"},
    "HTJ2K": {"pylibjpeg"},
    "RLELossless": {"pydicom"},
}


def test_each_syntax_has_exactly_the_decoders_that_we_ship() -> None:
    for keyword, plugins in PLUGINS.items():
        uid = getattr(pydicom.uid, keyword)
        assert set(_decoder(uid).available_plugins) == plugins, keyword
        assert _decoder(uid) is get_decoder(uid)
    assert set().union(*PLUGINS.values()) == set(DISTRIBUTIONS)
    assert JPEGLosslessSV1 == "1.2.840.10008.1.2.4.70"


@pytest.mark.parametrize("name", [*DISTRIBUTIONS.values(), "pylibjpeg", "numpy"])
def test_no_decoder_is_under_the_gpl(name: str) -> None:
    """By what the package itself states; pylibjpeg-libjpeg, which would read JPEG too, is GPL and must be absent."""
    about = metadata(name)
    stated = f"{about.get('License-Expression') or ''} {about.get('License') or ''} "
    stated += " ".join(value for value in about.get_all("Classifier") or [] if value.startswith("License"))
    assert re.search(r"MIT|BSD|Apache", stated), stated[:200]
    assert not re.search(r"GPL|General Public", stated), stated[:200]


def test_the_gpl_decoder_is_not_installed() -> None:
    from importlib.util import find_spec

    assert find_spec("libjpeg") is None
