"""A header is read to the same row by walking its elements as by pydicom, and no contradictory value is believed."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import header_fuzz
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fedescc.client.imaging.headers import header
from fedescc.client.imaging.headers.elements import NeedsMore, scan
from fedescc.client.imaging.headers.fields import _ELEMENTS, WANTED, is_readable, own_fields, shared_fields
from fedescc.client.imaging.headers.header import OWN_FIELDS, DicomRow, read_header
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.common.errors import Refusal

Slice = Callable[..., Dataset]
PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)
PYDICOM_DATA = Path(pydicom.__file__).parent / "data"
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def outcome(path: Path) -> DicomRow | tuple[str, DicomRow | None]:
    """The row, or why there is none."""
    with quiet_pydicom():
        try:
            return read_header(str(path.parent), path.name)
        except Refusal as refusal:
            return refusal.code, getattr(refusal, "row", None)


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[DicomRow | tuple[str, DicomRow | None]]:
    """What walking gives where it can, and pydicom alone."""
    walked = outcome(path)
    with monkeypatch.context() as patch:
        patch.setattr(header, "scan", lambda *_: None)
        return [walked, outcome(path)]


def is_walked(content: bytes) -> bool:
    try:
        return scan(content, len(content), WANTED) is not None
    except NeedsMore:
        return False


def save(dataset: Dataset, path: Path) -> Path:
    with quiet_pydicom():
        dataset.save_as(path, enforce_file_format=True)
    return path


def test_tags_and_representations_are_the_dictionarys() -> None:
    for keyword, (tag, representations) in _ELEMENTS.items():
        assert pydicom.datadict.tag_for_keyword(keyword) == tag
        assert dictionary_VR(tag).split(" or ") == representations.split()


def test_shared_fields_are_as_many_as_the_row_has() -> None:
    own, shared = own_fields({}), shared_fields({}, "", little=True, has_pixels=False)
    assert len(("root", "name", "frame", "offset", *own)) == OWN_FIELDS
    assert OWN_FIELDS + len(shared) == len(DicomRow._fields)
    row = DicomRow._make(("", "", 0, None, *own, *shared))
    assert (row.has_pixels, row.samples_per_pixel, row.frames, row.signed, row.patient_position) == (
        False,
        1,
        1,
        False,
        "",
    )
    assert (row.pixel_padding, row.gantry_tilt, row.slope, row.position) == (None, None, None, None)


def test_both_ways_agree_on_every_file_of_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = 0
    for path in sorted(path for path in PYDICOM_DATA.rglob("*") if path.is_file()):
        one, other = both_ways(path, monkeypatch)
        assert one == other, path.name
        walked += is_walked(path.read_bytes())
    assert walked > 80


@pytest.mark.parametrize("block", range(4))
def test_both_ways_agree_on_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    walked = 0
    path = tmp_path / "slice"
    for seed in range(block * 100, (block + 1) * 100):
        case = header_fuzz.make_case(seed)
        for k in case.damage:
            path.write_bytes(case.files[k])
            one, other = both_ways(path, monkeypatch)
            assert one == other, (seed, k, case.damage[k])
            walked += is_walked(case.files[k])
    assert walked > 10  # damage that leaves a well-formed header


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_well_formed_headers_are_walked(tmp_path: Path, ct_slice: Slice, syntax: str) -> None:
    dataset = ct_slice(PIXELS, syntax=syntax)
    inner, outer = Dataset(), Dataset()
    inner.CodeValue = "x"
    outer.PurposeOfReferenceCodeSequence = [inner, inner]
    outer["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    outer.is_undefined_length_sequence_item = True
    dataset.SourceImageSequence = [outer, Dataset(), outer]
    dataset["SourceImageSequence"].is_undefined_length = True
    content = save(dataset, tmp_path / "slice").read_bytes()
    found = scan(content, len(content), WANTED)
    assert found is not None
    assert found.transfer_syntax == syntax
    assert found.stored[0x00080060] == b"CT"
    assert found.pixels is not None
    start, length = found.pixels
    assert content[start : start + length] == PIXELS.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()


def test_a_header_longer_than_the_first_read_is_walked_on(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ct_slice(PIXELS)
    dataset.private_block(0x0019, "MAKER", create=True).add_new(1, "OB", bytes(100_000))
    path = save(dataset, tmp_path / "slice")
    content = path.read_bytes()
    with pytest.raises(NeedsMore):
        scan(content[:50_000], len(content), WANTED)
    monkeypatch.setattr(header, "read_unusual", lambda *_: pytest.fail("was left to pydicom"))
    assert read_header(str(tmp_path), "slice").position == (0.0, 0.0, 0.0)


@given(st.integers(0, 400))
def test_a_part_of_a_header_is_never_taken_for_the_whole(keep: int) -> None:
    content = header_fuzz.SERIES[0][0]
    with pytest.raises(NeedsMore):
        scan(content[: 132 + keep], len(content), WANTED)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda c: c.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0SS"), "another representation"),
        (lambda c: c.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0zz"), "an unknown representation"),
        (lambda c: c.replace(b"\x28\0\x10\0US", b"\x27\0\x10\0US"), "tags out of order"),
        (lambda c: c.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"), "an unknown transfer syntax"),
        (lambda c: c.replace(b"DICM", b"DICN"), "no prefix"),
        (lambda c: c.replace(b"\x28\0\x10\0US\x02\0", b"\x28\0\x10\0US\xfe\xff"), "a length beyond the end"),
        (lambda c: c.replace(b"ISO_IR 100", b"Iso_ir 100"), "an irregular character set"),
        (lambda c: c.replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x01\xe0", 1), "an item that is none"),
    ],
)
def test_the_unusual_is_left_to_pydicom(damage: Callable[[bytes], bytes], what: str) -> None:
    content = header_fuzz.SERIES[0][0]
    assert damage(content) != content, what
    assert is_walked(content)
    assert not is_walked(damage(content)), what


def nested(levels: int, *, explicit: bool) -> bytes:
    """Sequences of undefined length within each other."""
    head = b"\x08\0\x40\x11" + (b"SQ\0\0" if explicit else b"") + b"\xff\xff\xff\xff"
    item, ends = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return (head + item) * levels + ends * levels


@pytest.mark.parametrize(("levels", "walked"), [(1, True), (10, True), (5000, False)])
def test_sequences_are_followed_to_a_bounded_depth(levels: int, walked: bool) -> None:
    content = header_fuzz.SERIES[0][0]
    at = content.index(b"\x10\0\x10\0PN")
    deep = content[:at] + nested(levels, explicit=True) + content[at:]
    assert is_walked(deep) == walked


def test_a_number_declared_to_be_something_else_is_not_believed(tmp_path: Path, ct_slice: Slice) -> None:
    """Rows as FD would be another matrix to a reader that follows the file's own declaration."""
    content = save(ct_slice(PIXELS), tmp_path / "slice").read_bytes()
    for tag, wrong, field in (
        (b"\x28\0\x10\0US", b"\x28\0\x10\0SL", "rows"),
        (b"\x28\0\x10\0US", b"\x28\0\x10\0U\x02", "rows"),
        (b"\x20\0\x32\0DS", b"\x20\0\x32\0PN", "position"),
        (b"\x28\0\x30\0DS", b"\x28\0\x30\0LT", "pixel_spacing"),
    ):
        assert tag in content
        (tmp_path / "slice").write_bytes(content.replace(tag, wrong))
        assert not getattr(outcome(tmp_path / "slice"), field), wrong


def test_text_under_another_name_of_text_is_kept(tmp_path: Path, ct_slice: Slice) -> None:
    content = save(ct_slice(PIXELS), tmp_path / "slice").read_bytes()
    (tmp_path / "slice").write_bytes(content.replace(b"\x10\0\x20\0LO", b"\x10\0\x20\0SH"))
    row = outcome(tmp_path / "slice")
    assert isinstance(row, DicomRow)
    assert row.patient_id == "PAT-1"


@pytest.mark.parametrize(
    ("keyword", "representation", "readable"),
    [
        ("Rows", "US", True),
        ("Rows", "UN", True),
        ("Rows", None, True),
        ("Rows", "SS", False),
        ("PixelPaddingValue", "SS", True),
        ("ImagePositionPatient", "IS", True),
        ("ImagePositionPatient", "LO", False),
        ("PatientID", "SH", True),
        ("PatientID", "OB", False),
        ("ContrastBolusAgentSequence", "OB", False),
    ],
)
def test_which_representations_are_readable(keyword: str, representation: str | None, readable: bool) -> None:
    assert is_readable(_ELEMENTS[keyword][0], representation) == readable


@pytest.mark.parametrize(
    ("signed", "value", "read"), [(0, 63536, 63536), (1, -2000, -2000), (0, 0, 0), (0, None, None), (1, None, None)]
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_padding_has_the_sign_of_the_pixels(
    tmp_path: Path,
    ct_slice: Slice,
    monkeypatch: pytest.MonkeyPatch,
    signed: int,
    value: int | None,
    read: int | None,
    syntax: str,
) -> None:
    path = save(ct_slice(PIXELS, syntax=syntax, PixelRepresentation=signed, PixelPaddingValue=value), tmp_path / "s")
    for row in both_ways(path, monkeypatch):
        assert isinstance(row, DicomRow)
        assert row.pixel_padding == read


def test_padding_stated_with_the_wrong_sign_follows_the_pixels(tmp_path: Path, ct_slice: Slice) -> None:
    """-2000 as US is 63536, an unsigned number that no signed pixel has."""
    path = save(ct_slice(PIXELS, PixelRepresentation=1, PixelPaddingValue=-2000), tmp_path / "slice")
    path.write_bytes(path.read_bytes().replace(b"\x28\0\x20\x01SS", b"\x28\0\x20\x01US"))
    row = outcome(path)
    assert isinstance(row, DicomRow)
    assert row.pixel_padding == -2000


def test_tilt_and_patient_position_are_read(tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(ct_slice(PIXELS, GantryDetectorTilt="-14.5", PatientPosition="FFS"), tmp_path / "slice")
    for row in both_ways(path, monkeypatch):
        assert isinstance(row, DicomRow)
        assert (row.gantry_tilt, row.patient_position) == (-14.5, "FFS")


@pytest.mark.parametrize(
    ("tags", "phase"),
    [
        ({}, None),
        ({"NominalPercentageOfCardiacPhase": 75.0}, 75.0),
        ({"NominalPercentageOfRespiratoryPhase": 30.0}, 30.0),
        ({"NominalPercentageOfCardiacPhase": 0.0, "NominalPercentageOfRespiratoryPhase": 30.0}, 0.0),
        ({"NominalPercentageOfCardiacPhase": float("nan")}, None),
        ({"NominalPercentageOfCardiacPhase": [40.0, 75.0]}, None),
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_tells_scans_apart_is_read(
    tmp_path: Path,
    ct_slice: Slice,
    monkeypatch: pytest.MonkeyPatch,
    tags: dict[str, Any],
    phase: float | None,
    syntax: str,
) -> None:
    counts = {"ImagesInAcquisition": 20, "NumberOfSeriesRelatedInstances": 21, "AcquisitionTime": "101010.25"}
    path = save(ct_slice(PIXELS, syntax=syntax, **counts, **tags), tmp_path / "slice")
    for row in both_ways(path, monkeypatch):
        assert isinstance(row, DicomRow)
        assert (row.acquisition_time, row.images_in_acquisition, row.images_in_series) == ("101010.25", 20, 21)
        assert (row.phase_percent, row.stack_id) == (phase, "")


def test_a_time_for_each_slice_leaves_the_rest_shared(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> None:
    ct_series(tmp_path, np.stack([PIXELS] * 2), per_slice=lambda k: {"AcquisitionTime": f"10101{k}"})
    rows = [read_header(str(tmp_path), name) for name in ("0000", "0001")]
    assert [row.acquisition_time for row in rows] == ["101010", "101011"]
    assert all(one is other for one, other in zip(rows[0][OWN_FIELDS:], rows[1][OWN_FIELDS:], strict=True))


AGENT = Dataset()
AGENT.CodeValue = "C-B0322"


@pytest.mark.parametrize(
    ("tags", "agent"),
    [
        ({}, ""),
        ({"ContrastBolusAgent": "IOHEXOL", "ContrastBolusVolume": 80}, "IOHEXOL"),
        ({"ContrastBolusAgent": ""}, ""),
        ({"ContrastBolusAgentSequence": [AGENT]}, "sequence"),
        ({"ContrastBolusAgentSequence": []}, ""),
        ({"ContrastBolusVolume": 80}, "volume"),
        ({"ContrastBolusVolume": 0}, ""),
        ({"ContrastBolusVolume": ""}, ""),
        ({"ContrastBolusStartTime": "101112"}, "start_time"),
        ({"ContrastBolusStartTime": ""}, ""),
    ],
)
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_contrast_is_told_by_more_than_the_agent(
    tmp_path: Path,
    ct_slice: Slice,
    monkeypatch: pytest.MonkeyPatch,
    tags: dict[str, Any],
    agent: str,
    undefined: bool,
    syntax: str,
) -> None:
    dataset = ct_slice(PIXELS, syntax=syntax, **tags)
    if "ContrastBolusAgentSequence" in dataset:
        dataset["ContrastBolusAgentSequence"].is_undefined_length = undefined
    path = save(dataset, tmp_path / "slice")
    assert [row.contrast_agent for row in both_ways(path, monkeypatch) if isinstance(row, DicomRow)] == [agent, agent]


@pytest.mark.parametrize(
    ("character_set", "stored", "text"),
    [
        ("ISO_IR 100", "Müller Thorax".encode("latin1"), "Müller Thorax"),
        ("ISO_IR 192", "胸部增强 B30f".encode(), "胸部增强 B30f"),
        ("GB18030", "胸部增强".encode("gb18030"), "胸部增强"),
        (["", "ISO 2022 IR 87"], b"\x1b$B" + "食道".encode("iso2022_jp")[3:-3] + b"\x1b(B", "食道"),
    ],
)
def test_text_is_decoded_in_its_character_set(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch, character_set: Any, stored: bytes, text: str
) -> None:
    placeholder = "x" * len(stored)
    path = save(ct_slice(PIXELS, SpecificCharacterSet=character_set, SeriesDescription=placeholder), tmp_path / "slice")
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), stored))
    assert [row.series_description for row in both_ways(path, monkeypatch) if isinstance(row, DicomRow)] == [text, text]


def test_the_same_bytes_in_another_character_set_are_other_text(tmp_path: Path, ct_slice: Slice) -> None:
    """What is parsed once a series must not outlive its character set."""
    texts = []
    for character_set in ("ISO_IR 100", "ISO_IR 101"):
        path = save(ct_slice(PIXELS, SpecificCharacterSet=character_set, SeriesDescription="XY"), tmp_path / "slice")
        path.write_bytes(path.read_bytes().replace(b"XY", b"\xa3\xa5"))
        row = outcome(path)
        assert isinstance(row, DicomRow)
        texts.append(row.series_description)
    assert texts == ["£¥", "ŁĽ"]


@pytest.mark.parametrize("value", ["1_0", "3,5", "1.5.2", "abc", "0x10", "1\\2"])
def test_what_is_no_decimal_string_is_no_number(tmp_path: Path, ct_slice: Slice, value: str) -> None:
    path = save(ct_slice(PIXELS, KVP="123456"), tmp_path / "slice")
    path.write_bytes(path.read_bytes().replace(b"123456", value.ljust(6).encode()))
    row = outcome(path)
    assert isinstance(row, DicomRow)
    assert row.kvp is None


def test_rows_of_a_series_share_what_is_the_same(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> None:
    ct_series(tmp_path, np.stack([PIXELS] * 3))
    rows = [read_header(str(tmp_path), name) for name in ("0000", "0001", "0002")]
    for one, other in zip(rows[0][OWN_FIELDS:], rows[2][OWN_FIELDS:], strict=True):
        assert one is other


def test_a_failing_disk_is_no_verdict_on_the_file(
    tmp_path: Path, ct_slice: Slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(ct_slice(PIXELS), tmp_path / "slice")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(header, "_scan", fail)
    with pytest.raises(OSError, match="Input/output"):
        read_header(str(path.parent), path.name)


def test_a_later_encapsulated_fragment_that_is_cut_shows(tmp_path: Path, ct_slice: Slice) -> None:
    dataset = ct_slice(PIXELS)
    dataset.compress("1.2.840.10008.1.2.5")
    content = save(dataset, tmp_path / "slice").read_bytes()
    item = content.rindex(b"\xfe\xff\x00\xe0")
    (length,) = struct.unpack("<L", content[item + 4 : item + 8])
    (tmp_path / "slice").write_bytes(content[: item + 4] + struct.pack("<L", length + 4096) + content[item + 8 :])
    assert outcome(tmp_path / "slice")[0] == "truncated"


def test_a_file_cut_at_any_byte_of_its_fragments_is_truncated(tmp_path: Path, ct_slice: Slice) -> None:
    """Cut between two fragments the rest is a shorter, sound list of items: only the delimiter tells."""
    dataset = ct_slice(PIXELS)
    dataset.PixelData = encapsulate([b"\1" * 96], fragments_per_frame=2)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = RLELossless
    content = save(dataset, tmp_path / "slice").read_bytes()
    assert isinstance(outcome(tmp_path / "slice"), DicomRow)
    for keep in range(content.index(b"\xfe\xff\x00\xe0"), len(content) - 7):
        (tmp_path / "slice").write_bytes(content[:keep])
        found = outcome(tmp_path / "slice")
        assert not isinstance(found, DicomRow), keep
        assert found[0] == "truncated"
