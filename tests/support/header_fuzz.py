"""Damaged CT files, and whether what the index and the series make of them can be trusted.

A case is one series of which some files were damaged, all drawn from its seed. It fails if anything but a refusal comes
out, if it takes longer than its limit, if a cut file goes unnoticed, or if an accepted volume does not lie where
pydicom, reading the very same files on its own, says that each of its slices lies.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.geometry import ORIENTATION_REFUSE, POSITION_REFUSE_MM, SPACING_REFUSE_MM, Tilt
from fedescc.client.imaging.volumes.series import DAMAGED_NEARBY, Series, group_series
from fedescc.client.imaging.volumes.volume import open_volume
from fedescc.common.errors import Refusal

SLICES, GAP_MM = 5, 2.5
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless)
SECONDS_PER_CASE = 10
_VRS = b"AE AS CS DA DS IS LO OB OW PN SH SQ SS ST TM UI UL UN US UT FD".split()
_TRUNCATED = "truncated"


class Hang(BaseException):
    """A case took too long; no Exception, so that nothing swallows it."""


class Case(NamedTuple):
    """The files of a series, and which were damaged how."""

    files: list[bytes]
    damage: dict[int, list[str]]


class Outcome(NamedTuple):
    """Volumes accepted and refused, with and without tilt; damaged files rejected; and what went wrong."""

    accepted: int
    refused: int
    rejected: int
    faults: list[str]


def make_case(seed: int) -> Case:
    """A series of which one to all files are damaged, each one to three times."""
    rng = np.random.default_rng(seed)
    files = list(SERIES[seed % len(SERIES)])
    damaged = rng.permutation(SLICES)[: rng.choice([1, 1, 1, 2, SLICES])]
    damage: dict[int, list[str]] = {}
    for k in damaged.tolist():
        kinds = [MUTATIONS[i] for i in rng.integers(len(MUTATIONS), size=rng.choice([1, 1, 2, 3]))]
        for mutation in kinds:
            files[k] = mutation(rng, files[k])
        damage[k] = [mutation.__name__ for mutation in kinds]
    return Case(files, damage)


def run_case(folder: Path, case: Case) -> Outcome:
    """Write the case's files into an empty folder and judge what comes of them."""
    for k, content in enumerate(case.files):
        (folder / f"IM{k:02}.dcm").write_bytes(content)
    try:
        with _limit(SECONDS_PER_CASE), quiet_pydicom():
            return _judge(folder, case)
    except Hang:
        return Outcome(0, 0, 0, ["hang"])
    except Exception as error:  # noqa: BLE001  that is what is looked for
        return Outcome(0, 0, 0, [f"crash: {type(error).__name__}: {error}"])


def _judge(folder: Path, case: Case) -> Outcome:
    index = index_folder(folder)
    faults = []
    named = {row.name for row in index.rows} | {mask.name for mask in index.masks} | {r.file for r in index.rejected}
    if named != {f"IM{k:02}.dcm" for k in range(SLICES)}:
        faults.append("a file is not accounted for")
    accepted = refused = 0
    tilts: tuple[Tilt, ...] = ("refuse", "correct")
    for series in (one for tilt in tilts for one in group_series(index.rows, index.rejected, tilt=tilt)):
        try:
            volume = open_volume(series)
            shape = volume.slices(0, len(series.rows)).shape
        except Refusal:
            refused += 1
            continue
        accepted += 1
        faults += _geometry_faults(series, shape)
        if any(kinds == [_TRUNCATED] for kinds in case.damage.values()) and DAMAGED_NEARBY not in series.warnings:
            faults.append("a cut file goes unnoticed")
    damaged = {f"IM{k:02}.dcm" for k in case.damage}
    return Outcome(accepted, refused, sum(one.file in damaged for one in index.rejected), faults)


def _geometry_faults(series: Series, shape: tuple[int, ...]) -> Iterator[str]:
    """How an accepted volume differs from what pydicom reads of each of its files."""
    grid = series.geometry
    assert grid
    if shape != grid.shape_zyx or len(series.rows) != shape[0]:
        yield f"shape {shape}, geometry {grid.shape_zyx}"
    axes = np.reshape(grid.direction, (3, 3)).T
    for k, row in enumerate(series.rows):
        dataset = pydicom.dcmread(row.path, force=True, stop_before_pixels=True)
        if (dataset.Rows, dataset.Columns) != grid.shape_zyx[1:]:
            yield f"slice {k}: matrix"
        position = np.asarray(dataset.ImagePositionPatient, dtype=float)
        away = np.linalg.norm(position - grid.index_to_physical((0, 0, k)))
        if not away <= 2 * POSITION_REFUSE_MM:
            yield f"slice {k}: {away} mm off"
        if not np.abs(np.asarray(dataset.ImageOrientationPatient, dtype=float) - axes[:2].ravel()).max() <= (
            2 * ORIENTATION_REFUSE
        ):
            yield f"slice {k}: orientation"
        spacing = np.asarray(dataset.PixelSpacing, dtype=float)
        if not np.abs(spacing - grid.spacing_zyx_mm[1:]).max() <= 2 * SPACING_REFUSE_MM:
            yield f"slice {k}: spacing"


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


Mutation = Callable[[np.random.Generator, bytes], bytes]


def flipped_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 9) if content else 0):
        damaged[_place(rng, content)] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def inserted_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + rng.bytes(int(rng.integers(1, 17))) + content[at:]


def deleted_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + content[at + int(rng.integers(1, 17)) :]


def truncated(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content)))] if len(content) else content


def changed_length(rng: np.random.Generator, content: bytes) -> bytes:
    """Bytes where an element's length stands, overwritten: short, long, undefined or a little off."""
    at = _head(rng, content) + int(rng.choice([4, 6, 8]))
    value = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff", b"\x02\0", b"\x10\0\0\0", rng.bytes(2)])
    return content[:at] + bytes(value) + content[at + len(value) :]


def swapped_representation(rng: np.random.Generator, content: bytes) -> bytes:
    at = _head(rng, content) + 4
    return content[:at] + _VRS[rng.integers(len(_VRS))] + content[at + 2 :]


def changed_tag(rng: np.random.Generator, content: bytes) -> bytes:
    at = _head(rng, content) + 2 * int(rng.integers(2))
    return content[:at] + rng.bytes(2) + content[at + 2 :]


def changed_digit(rng: np.random.Generator, content: bytes) -> bytes:
    """One character of a decimal string: the value stays plausible, or is no number any more."""
    places = [i for i in range(132, _end(content)) if content[i : i + 1].isdigit()]
    if not places:
        return content
    at = places[rng.integers(len(places))]
    return content[:at] + rng.choice(list(b"0123456789.-eE_ \\")).astype(np.uint8).tobytes() + content[at + 1 :]


def moved_block(rng: np.random.Generator, content: bytes) -> bytes:
    """A stretch of the header written again elsewhere: elements twice, or out of order."""
    start, at = _place(rng, content), _place(rng, content)
    return content[:at] + content[start : start + int(rng.integers(8, 200))] + content[at:]


MUTATIONS: tuple[Mutation, ...] = (
    flipped_bytes,
    inserted_bytes,
    deleted_bytes,
    truncated,
    changed_length,
    swapped_representation,
    changed_tag,
    changed_digit,
    moved_block,
)


def _end(content: bytes) -> int:
    """About where the pixels start: 32 bytes of values and what follows them are worth damaging too."""
    found = max(content.rfind(b"\xe0\x7f\x10\x00"), content.rfind(b"\x7f\xe0\x00\x10"))
    return min(found + 44, len(content)) if found > 0 else len(content)


def _place(rng: np.random.Generator, content: bytes) -> int:
    return int(rng.integers(min(100, len(content) - 1), _end(content))) if len(content) > 1 else 0


def _head(rng: np.random.Generator, content: bytes) -> int:
    """Where an element seems to start: a known group, little or big endian."""
    groups = (b"\x08\0", b"\x10\0", b"\x18\0", b"\x20\0", b"\x28\0", b"\0\x08", b"\0\x18", b"\0\x20", b"\0\x28")
    places = [i for i in range(132, max(132, _end(content) - 8)) if content[i : i + 2] in groups]
    return places[rng.integers(len(places))] if places else _place(rng, content)


def _series(syntax: str) -> list[bytes]:
    return [_slice(k, syntax) for k in range(SLICES)]


def _slice(k: int, syntax: str) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.7.{k + 1}"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "IMG", "L", "Chest"
    dataset.ProcedureCodeSequence = [code]
    dataset["ProcedureCodeSequence"].is_undefined_length = k % 2 == 0
    for keyword, value in _TAGS.items():
        setattr(dataset, keyword, value)
    dataset.InstanceNumber = k + 1
    dataset.ImagePositionPatient = [-120.5, -118.25, -400.0 + GAP_MM * k]
    dataset.private_block(0x0019, "MAKER", create=True).add_new(1, "OB", bytes(24))
    pixels = (np.arange(8 * 6).reshape(8, 6) * 20 + k).astype(np.uint16)
    dataset.PixelData = pixels.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


_TAGS = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "StudyDate": "20240102",
    "AcquisitionDate": "20240102",
    "AccessionNumber": "A17",
    "Modality": "CT",
    "Manufacturer": "MAKER",
    "SeriesDescription": "Thorax 2.5",
    "PatientName": "SYNTHETIC",
    "PatientID": "PAT-1",
    "ContrastBolusAgent": "IOHEXOL",
    "SliceThickness": 2.5,
    "KVP": 120,
    "GantryDetectorTilt": 0,
    "ConvolutionKernel": "B30f",
    "PatientPosition": "HFS",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.5",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.6",
    "SeriesNumber": 3,
    "AcquisitionNumber": 2,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.8",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 8,
    "Columns": 6,
    "PixelSpacing": [0.75, 0.7],
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
    "RescaleIntercept": -1024,
    "RescaleSlope": 1,
    "RescaleType": "HU",
}
SERIES = tuple(_series(syntax) for syntax in SYNTAXES)
