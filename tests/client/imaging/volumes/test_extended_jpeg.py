"""Lossy JPEG of 12 bits: the values of another decoder, close to what was encoded, flagged, and no crash on damage."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEGExtended12Bit

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.inspection import inspect_folder
from fedescc.client.imaging.volumes.extended_jpeg import decode_extended
from fedescc.client.imaging.volumes.pixels import stored_values
from fedescc.client.imaging.volumes.reasons import series_warnings
from fedescc.common.errors import Refusal

Slice = Callable[..., Dataset]
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def image(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    noise = np.random.default_rng(seed).integers(-50, 51, (rows, columns))
    return (1500 + 900 * np.sin(x / 9) + 800 * np.cos(y / 7) + noise).clip(0, 4095).astype(np.uint16)


def encoded(values: np.ndarray, level: int = 95) -> bytes:
    return bytes(imagecodecs.jpeg_encode(values, level=level, bitspersample=12))


def lossy(dataset: Dataset, code: bytes) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    dataset.PixelData = encapsulate([code])
    dataset["PixelData"].VR = "OB"
    return dataset


def saved(folder: Path, dataset: Dataset) -> DicomRow:
    dataset.save_as(folder / "slice", enforce_file_format=True)
    return read_header(str(folder), "slice")


@pytest.mark.parametrize("shape", [(64, 48), (33, 41), (7, 5), (512, 512)])
@pytest.mark.parametrize("level", [50, 90, 100])
def test_values_are_those_of_libjpeg_turbo(shape: tuple[int, int], level: int) -> None:
    code = encoded(image(*shape), level)
    np.testing.assert_array_equal(decode_extended(code, *shape), imagecodecs.jpeg_decode(code))


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_real_files_read_as_libjpeg_turbo_reads_them(name: str) -> None:
    row = read_header(str(PYDICOM_FILES), name)
    values = stored_values(row)
    dataset = pydicom.dcmread(row.path)
    np.testing.assert_array_equal(values, imagecodecs.jpeg_decode(get_frame(dataset.PixelData, 0, number_of_frames=1)))
    assert values.shape == (1024, 256)
    # The values in pydicom's own test of this file.
    assert values[420, 140] == 244
    assert values[230, 120] == 95


def test_a_series_is_read_closely_and_flagged(tmp_path: Path, ct_slice: Slice) -> None:
    for k in range(4):
        tags = {"BitsStored": 12, "HighBit": 11, "ImagePositionPatient": [0, 0, 2 * k]}
        dataset = lossy(ct_slice(image(40, 48, k), **tags), encoded(image(40, 48, k)))
        dataset.save_as(tmp_path / str(k), enforce_file_format=True)
    (series,) = inspect_folder(tmp_path)["series"]
    assert (series["verdict"], series["warnings"]) == ("accepted", ["lossy_compression"])
    for k in range(4):
        error = np.abs(stored_values(read_header(str(tmp_path), str(k))).astype(int) - image(40, 48, k))
        assert 0 < error.max() <= 16


def test_more_bits_than_the_header_says_are_refused(tmp_path: Path, ct_slice: Slice) -> None:
    values = image(40, 48)
    row = saved(tmp_path, lossy(ct_slice(values, BitsStored=10, HighBit=9), encoded(values)))
    assert "lossy_compression" in series_warnings([row])
    with pytest.raises(Refusal, match="bits_contradicted"):
        stored_values(row)


def test_another_size_or_kind_of_stream_is_refused() -> None:
    values = image(40, 48)
    good = encoded(values)
    for rows, columns in ((48, 40), (40, 47), (20, 48), (80, 48)):
        with pytest.raises(ValueError, match="another kind"):
            decode_extended(good, rows, columns)
    others = {
        "eight bits": imagecodecs.jpeg_encode((values >> 4).astype(np.uint8)),
        "colour": imagecodecs.jpeg_encode(np.stack([values] * 3, axis=2), bitspersample=12),
        "lossless": imagecodecs.ljpeg_encode(values, bitspersample=12),
        "no JPEG": b"\0" * 500,
        "nothing": b"",
        "no scan": good[: good.index(b"\xff\xda")],
    }
    for code in others.values():
        with pytest.raises(ValueError, match="another kind"):
            decode_extended(bytes(code), 40, 48)


def test_a_stream_that_is_cut_is_refused() -> None:
    good = encoded(image(40, 48))
    for keep in (0.3, 0.6, 0.9, 0.98):
        with pytest.raises(ValueError, match="damaged"):
            decode_extended(good[: int(len(good) * keep)], 40, 48)


def test_segments_for_applications_do_not_matter() -> None:
    """GDCM aborts the process over a JFIF version that it does not know, and over bytes between segments."""
    values = image(40, 48)
    good = encoded(values)
    assert good[2:4] == b"\xff\xe0"
    strange = good[:11] + b"\x0b\x0b" + good[13:]
    comment = good[:2] + b"\xff\xfe\x00\x06text" + good[2:]
    for code in (strange, comment):
        np.testing.assert_array_equal(decode_extended(code, 40, 48), imagecodecs.jpeg_decode(good))
    table = good.index(b"\xff\xc4")
    with pytest.raises(ValueError, match="another kind"):
        decode_extended(good[:table] + b"\x01\x02\x03" + good[table:], 40, 48)


def test_damaged_streams_do_not_end_the_process() -> None:
    """A few hundred, as an index of a broken disk would meet them; each is refused or an image of the right shape."""
    rng = np.random.default_rng(5)
    good = encoded(image(40, 48))
    refused = 0
    for _ in range(300):
        code = bytearray(good)
        at, count = int(rng.integers(len(code))), int(rng.integers(1, 9))
        code[at : at + count * int(rng.integers(2))] = rng.bytes(int(rng.integers(count + 1)))
        try:
            assert decode_extended(bytes(code), 40, 48).shape == (40, 48)
        except ValueError:
            refused += 1
    assert refused > 30
