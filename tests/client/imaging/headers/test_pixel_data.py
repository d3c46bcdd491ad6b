"""Files whose pixels are not what the header says, or are there twice, are refused and known as damaged."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from fedescc.client.imaging.headers import header
from fedescc.client.imaging.headers.classify import classify
from fedescc.client.imaging.headers.elements import UNDEFINED_LENGTH
from fedescc.client.imaging.headers.found import RejectedFile
from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.pixels import stored_values
from fedescc.client.imaging.volumes.series import DAMAGED_NEARBY, group_series

Slice = Callable[..., Dataset]
PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5) + 900
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
PIXEL_TAG, DELIMITER = b"\xe0\x7f\x10\x00", b"\xfe\xff\xdd\xe0\0\0\0\0"
FRAGMENTS = encapsulate([PIXELS.tobytes()])


def written(dataset: Dataset, path: Path) -> bytes:
    with quiet_pydicom():
        dataset.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def found(path: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> DicomRow | str:
    """The row, or the code of a file that was rejected; with a monkeypatch as pydicom reads its header."""
    with quiet_pydicom():
        if monkeypatch is None:
            (one,) = classify(str(path.parent), path.name)
        else:
            with monkeypatch.context() as patch:
                patch.setattr(header, "scan", lambda *_: None)
                (one,) = classify(str(path.parent), path.name)
    if isinstance(one, RejectedFile):
        assert (one.patient_id, one.series_uid) == ("PAT-1", "1.2.3.4")
        return one.reason
    assert isinstance(one, DicomRow)
    return one


def pixel_element(length: int, syntax: str) -> bytes:
    """Head of Pixel Data with any length."""
    if syntax == ExplicitVRBigEndian:
        return b"\x7f\xe0\x00\x10OW\0\0" + struct.pack(">L", length)
    vr = b"" if syntax == ImplicitVRLittleEndian else b"OB\0\0"
    return PIXEL_TAG + vr + struct.pack("<L", length)


def header_of(content: bytes, syntax: str) -> bytes:
    """A file up to its pixels."""
    return content[: content.rindex(pixel_element(2 * PIXELS.size, syntax)[:4])]


@pytest.mark.parametrize("syntax", NATIVE)
def test_fragments_under_a_native_syntax_are_refused(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    """Taken for values they are the image, shifted by the items' 16 bytes, which become HU."""
    path = tmp_path / "slice"
    start = header_of(written(ct_slice(PIXELS, syntax=syntax), path), syntax)
    for head, end in (
        (pixel_element(UNDEFINED_LENGTH, syntax), DELIMITER),
        (pixel_element(len(FRAGMENTS), syntax), b""),
    ):
        path.write_bytes(start + head + FRAGMENTS + end)
        assert (found(path), found(path, monkeypatch)) == ("syntax_contradicted",) * 2


def test_fragments_in_a_file_that_names_no_syntax_are_refused(tmp_path: Path, ct_slice: Slice) -> None:
    path = tmp_path / "slice"
    start = header_of(written(ct_slice(PIXELS), path), ExplicitVRLittleEndian)
    data_set = start[start.index(b"\x08\x00\x08\x00CS") :]
    path.write_bytes(data_set + pixel_element(UNDEFINED_LENGTH, ExplicitVRLittleEndian) + FRAGMENTS + DELIMITER)
    assert found(path) == "syntax_contradicted"


def test_fragments_in_a_deflated_file_are_refused(tmp_path: Path, ct_slice: Slice) -> None:
    import zlib

    path = tmp_path / "slice"
    content = header_of(written(ct_slice(PIXELS), path), ExplicitVRLittleEndian)
    at = content.index(b"\x08\x00\x08\x00CS")
    meta = content[:at].replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.1.99")
    group_length = meta.index(b"\x02\x00\x00\x00UL") + 8
    (length,) = struct.unpack_from("<L", meta, group_length)
    meta = meta[:group_length] + struct.pack("<L", length + 2) + meta[group_length + 4 :]
    body = content[at:] + pixel_element(UNDEFINED_LENGTH, ExplicitVRLittleEndian) + FRAGMENTS + DELIMITER
    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(meta + packed.compress(body) + packed.flush())
    assert found(path) == "syntax_contradicted"


def test_values_under_a_compressed_syntax_are_refused(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS), path)
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    assert (found(path), found(path, monkeypatch)) == ("syntax_contradicted",) * 2


@pytest.mark.parametrize("end", [b"", DELIMITER])
def test_fragments_of_known_length_are_read(tmp_path: Path, ct_slice: Slice, end: bytes) -> None:
    """Against the standard, but there is no doubt about what is meant."""
    dataset = ct_slice(PIXELS)
    dataset.compress(RLELossless)
    path = tmp_path / "slice"
    content = written(dataset, path)
    value = content.rindex(pixel_element(UNDEFINED_LENGTH, RLELossless)) + 12
    items = content[value : -len(DELIMITER)] + end
    head = pixel_element(len(items), RLELossless)
    path.write_bytes(content[: value - 12] + head + items)
    row = found(path)
    assert isinstance(row, DicomRow)
    np.testing.assert_array_equal(stored_values(row), PIXELS)
    path.write_bytes(content[: value - 12] + pixel_element(len(items) + 2, RLELossless) + items + b"\0\0")
    assert found(path) == "syntax_contradicted"
    path.write_bytes(content[: value - 12] + head + items[:-2])
    assert found(path) == "truncated"


def test_excess_bytes_that_are_no_fragments_do_no_harm(tmp_path: Path, ct_slice: Slice) -> None:
    path = tmp_path / "slice"
    start = header_of(written(ct_slice(PIXELS), path), ExplicitVRLittleEndian)
    path.write_bytes(start + pixel_element(2 * PIXELS.size + 16, ExplicitVRLittleEndian) + PIXELS.tobytes() + bytes(16))
    row = found(path)
    assert isinstance(row, DicomRow)
    np.testing.assert_array_equal(stored_values(row), PIXELS)


POSITION = b"\x20\x00\x32\x00DS\x08\x009\\9\\9   "


@pytest.mark.parametrize(
    "before", [b"\x20\x00\x32\x00DS", b"\x28\x00\x02\x00US", PIXEL_TAG], ids=["same", "later", "last"]
)
def test_two_positions_are_refused(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS), path)
    at = content.rindex(before)
    path.write_bytes(content[:at] + POSITION + content[at:])
    assert (found(path), found(path, monkeypatch)) == ("repeated_element",) * 2


def test_an_empty_one_beside_the_position_leaves_no_doubt(tmp_path: Path, ct_slice: Slice) -> None:
    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS, ImagePositionPatient=[1, 2, 3]), path)
    at = content.index(b"\x20\x00\x32\x00DS")
    path.write_bytes(content[:at] + b"\x20\x00\x32\x00DS\0\0" + content[at:])
    row = found(path)
    assert isinstance(row, DicomRow)
    assert row.position == (1.0, 2.0, 3.0)


def test_elements_that_nobody_reads_may_repeat(tmp_path: Path, ct_slice: Slice) -> None:
    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS, StationName="CT"), path)
    at = content.index(b"\x08\x00\x10\x10SH")
    path.write_bytes(content[: at + 10] + content[at : at + 10] + content[at + 10 :])
    assert isinstance(found(path), DicomRow)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("other", [False, True], ids=["at once", "behind another element"])
def test_two_pixel_data_are_refused(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch, syntax: str, other: bool
) -> None:
    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS, syntax=syntax), path)
    pixels = content[len(header_of(content, syntax)) :]
    order, vr = (
        (">" if syntax == ExplicitVRBigEndian else "<"),
        (b"" if syntax == ImplicitVRLittleEndian else b"OB\0\0"),
    )
    between = struct.pack(f"{order}HH", 0xFFFC, 0xFFFC) + vr + struct.pack(f"{order}L", 4) + bytes(4) if other else b""
    path.write_bytes(content + between + pixels)
    assert (found(path), found(path, monkeypatch)) == ("repeated_element",) * 2
    path.write_bytes(content + between)
    assert isinstance(found(path), DicomRow)


def test_two_pixel_data_in_a_deflated_or_compressed_file_are_refused(tmp_path: Path, ct_slice: Slice) -> None:
    import zlib

    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS, syntax=DeflatedExplicitVRLittleEndian), path)
    at = 132 + 12 + struct.unpack_from("<L", content, 140)[0]
    body = zlib.decompress(content[at:], wbits=-zlib.MAX_WBITS)
    for again, expected in ((b"", None), (body[body.index(PIXEL_TAG) :], "repeated_element")):
        packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        path.write_bytes(content[:at] + packed.compress(body + again) + packed.flush())
        assert found(path) == expected if expected else isinstance(found(path), DicomRow)
    dataset = ct_slice(PIXELS)
    dataset.compress(RLELossless)
    content = written(dataset, path)
    path.write_bytes(content + content[content.rindex(pixel_element(UNDEFINED_LENGTH, RLELossless)) :])
    assert found(path) == "repeated_element"


@pytest.mark.parametrize(
    "behind",
    [
        bytes(1000),
        bytes(range(256)) * 4,
        b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0",
        b"\xfa\xff\xfa\xffSQ\0\0\xff\xff\xff\xff",
        b"\xff" * 7,
        b"\xe0\x7f",
    ],
)
def test_what_lies_behind_the_pixels_otherwise_does_no_harm(tmp_path: Path, ct_slice: Slice, behind: bytes) -> None:
    path = tmp_path / "slice"
    path.write_bytes(written(ct_slice(PIXELS), path) + behind)
    row = found(path)
    assert isinstance(row, DicomRow)
    np.testing.assert_array_equal(stored_values(row), PIXELS)


@pytest.mark.parametrize("fault", ["fragments", "twice"])
def test_a_series_knows_that_such_a_file_was_of_it(
    tmp_path: Path, ct_series: Callable[..., list[Path]], fault: str
) -> None:
    """As the last slice no gap would tell."""
    path = ct_series(tmp_path, np.stack([PIXELS] * 4))[-1]
    content = path.read_bytes()
    start = header_of(content, ExplicitVRLittleEndian)
    fragments = pixel_element(UNDEFINED_LENGTH, ExplicitVRLittleEndian) + FRAGMENTS + DELIMITER
    path.write_bytes(start + fragments if fault == "fragments" else content + content[len(start) :])
    index = index_folder(tmp_path)
    (series,) = group_series(index.rows, index.rejected)
    assert len(series.rows) == 3
    assert DAMAGED_NEARBY in series.warnings


def test_packed_bits_are_counted_to_the_last_byte(tmp_path: Path, ct_slice: Slice) -> None:
    """3 x 3 bits take two bytes, not one; of a segmentation's frames no byte may be missing either."""
    path = tmp_path / "slice"
    stored = np.zeros((3, 3), np.uint16)
    dataset = ct_slice(stored, Modality="OT", SOPClassUID="1.2.9", BitsAllocated=1, BitsStored=1, HighBit=0)
    for length, whole in ((2, True), (1, False)):
        dataset.PixelData = bytes(2)
        start = header_of(written(dataset, path), ExplicitVRLittleEndian)
        path.write_bytes(start + pixel_element(length, ExplicitVRLittleEndian) + bytes(length))
        assert (found(path) == "truncated") is not whole


def test_a_preamble_without_its_magic_word_is_a_damaged_file(tmp_path: Path, ct_slice: Slice) -> None:
    """No reader takes it, pydicom neither; but it was an image."""
    path = tmp_path / "slice"
    content = written(ct_slice(PIXELS), path)
    for rest in (content[132:], content[content.index(b"\x08\x00\x08\x00CS") :]):
        path.write_bytes(bytes(128) + rest)
        (one,) = classify(str(tmp_path), "slice")
        assert isinstance(one, RejectedFile)
        assert one.reason == "unreadable"
    path.write_bytes(b"x" * 128 + content[132:])
    (one,) = classify(str(tmp_path), "slice")
    assert isinstance(one, RejectedFile)
    assert one.reason == "not_dicom"
    path.write_bytes(content[132:])
    assert read_header(str(tmp_path), "slice").modality == "CT"
