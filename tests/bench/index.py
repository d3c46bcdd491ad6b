"""Seconds to index 10,000 small CT files: a plain pydicom loop, and index_folder first, again, and after a change.

The files have headers as a scanner writes them (130 elements, some private, two sequences) and few pixels, since an
index reads none. They are read before the clock starts, so that all find them in memory. Then 100,000 files are indexed
for the memory that takes. Every step is a process of its own and the call alone is timed, its processes included.

Goals: first run >= 1.6 times as fast as the loop, unchanged run >= 50 times.
Run: python tests/bench/index.py [folder for the temporary files]
"""

import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

FILES, MANY, A_SERIES, REPEATS = 10_000, 100_000, 250, 3
SETTLE_SECONDS = 2.5  # files changed within 2 s are read again
UID = "1.2.826.0.1.3680043.8.498.1{:08}.1{:05}"

CALL = """
import resource, sys, time
from pathlib import Path
{imports}
def now(): return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if __name__ == "__main__":
    folder, store = Path(sys.argv[1]), Path(sys.argv[2])
    before, start = now(), time.perf_counter()
    {call}
    print(time.perf_counter() - start, peak() - before, count)
"""
LOOP = CALL.format(
    imports="import os, pydicom",
    call="""count = 0
    for here, _, names in os.walk(folder):
        for name in names:
            pydicom.dcmread(os.path.join(here, name), stop_before_pixels=True)
            count += 1""",
)
IMPORT_INDEX = "from fedescc.client.imaging.headers.index import index_folder"
INDEX = CALL.format(imports=IMPORT_INDEX, call="count = len(index_folder(folder).rows)")
ONE_PROCESS = CALL.format(imports=IMPORT_INDEX, call="count = len(index_folder(folder, workers=1).rows)")
STORED = CALL.format(imports=IMPORT_INDEX, call="count = len(index_folder(folder, store=store).rows)")


def main(scratch: Path | None) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        folder, store = Path(made, "export"), Path(made, "index.sqlite")
        write_files(folder, FILES)
        time.sleep(SETTLE_SECONDS)
        print(f"{FILES:,} headers, median of {REPEATS} (min-max), and memory above the imports:")  # noqa: T201
        loop = report("pydicom loop, one process", [call(LOOP, folder, store) for _ in range(REPEATS)])
        report("index_folder, one process", [call(ONE_PROCESS, folder, store) for _ in range(REPEATS)], loop)
        report("index_folder", [call(INDEX, folder, store) for _ in range(REPEATS)], loop)
        first = []
        for _ in range(REPEATS):
            store.unlink(missing_ok=True)
            first.append(call(STORED, folder, store))
        report("index_folder, first with a store", first, loop)
        report("index_folder, unchanged", [call(STORED, folder, store) for _ in range(REPEATS)], loop)
        write_files(folder, A_SERIES)
        report("index_folder, one series changed", [call(STORED, folder, store)], loop)
        print(f"{MANY:,} headers:")  # noqa: T201
        write_files(folder, MANY)
        report("index_folder", [call(INDEX, folder, store, MANY)])
        time.sleep(SETTLE_SECONDS)
        report("index_folder, with a store", [call(STORED, folder, store, MANY)])
        report("index_folder, unchanged", [call(STORED, folder, store, MANY)])


def call(program: str, folder: Path, store: Path, files: int = FILES) -> tuple[float, float]:
    """Seconds and MiB of one call in a new process."""
    script = store.with_name("call.py")  # a file, as a user's program is: its processes import it
    script.write_text(program, encoding="utf-8")
    command = [sys.executable, str(script), str(folder), str(store)]
    seconds, mib, count = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert int(count) == files, (count, files)
    return float(seconds), float(mib)


def report(what: str, runs: list[tuple[float, float]], loop: float | None = None) -> float:
    """Print one line; returns the median of the seconds."""
    seconds = sorted(run[0] for run in runs)
    median = seconds[len(seconds) // 2]
    ratio = f"{loop / median:6.1f} times the loop" if loop else ""
    memory = max(run[1] for run in runs)
    print(f"  {what:34} {median:7.3f} s  ({seconds[0]:.3f}-{seconds[-1]:.3f}) {memory:5.0f} MiB {ratio}")  # noqa: T201
    return median


def write_files(folder: Path, count: int) -> None:
    """``count`` CT images in series of 250, a folder each; what is there already is replaced."""
    template = encoded_slice()
    for number in range(count):
        series, k = divmod(number, A_SERIES)
        place = folder / f"PAT{series // 4:05}" / f"ST{series % 4}" / f"SE{series:05}"
        if k == 0:
            place.mkdir(parents=True, exist_ok=True)
        content = template.replace(UID.format(0, 0).encode(), UID.format(series + 1, k + 1).encode())
        content = content.replace(UID.format(0, 99999).encode(), UID.format(series + 1, 99999).encode())
        content = content.replace(b"PAT00000", f"PAT{series // 4:05}".encode())
        content = content.replace(b"-0000.00", f"{k * 1.25 - 400:08.2f}".encode())
        (place / f"IM{k:05}").write_bytes(content)


def encoded_slice() -> bytes:
    """A CT image as a scanner writes it, but for the size of its matrix."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, UID.format(0, 0)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    for keyword, value in TAGS.items():
        setattr(data, keyword, value)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "IMG", "L", "Chest"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, UID.format(0, 77777)
    data.ProcedureCodeSequence, data.ReferencedImageSequence = [code], [reference, reference]
    data["ReferencedImageSequence"].is_undefined_length = True
    for group in (0x0019, 0x0043):
        block = data.private_block(group, "MAKER_PARAMETERS", create=True)
        for element in range(16):
            block.add_new(element, "DS", f"{element * 1.5:.3f}")
        block.add_new(0x20, "OB", bytes(512))
    buffer = BytesIO()
    dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


TAGS = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    **dict.fromkeys(("InstanceCreationDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), "20240102"),
    **dict.fromkeys(("InstanceCreationTime", "StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), "101112.25"),
    "SOPClassUID": CTImageStorage,
    "SOPInstanceUID": UID.format(0, 0),
    "AccessionNumber": "0123456789",
    "Modality": "CT",
    "Manufacturer": "MAKER",
    "InstitutionName": "Hospital",
    "InstitutionAddress": "Street 1, Town",
    "ReferringPhysicianName": "A^B",
    "StationName": "CT01",
    "StudyDescription": "Chest with contrast",
    "SeriesDescription": "Thorax 1.25 B30f",
    "PerformingPhysicianName": "C^D",
    "OperatorsName": "E",
    "ManufacturerModelName": "Model 64",
    "PatientName": "SYNTHETIC^PATIENT",
    "PatientID": "PAT00000",
    "PatientBirthDate": "19500101",
    "PatientSex": "M",
    "PatientAge": "074Y",
    "PatientWeight": 70,
    "ContrastBolusAgent": "IOHEXOL",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "HELICAL",
    "SliceThickness": 1.25,
    "KVP": 120,
    "DataCollectionDiameter": 500,
    "DeviceSerialNumber": "12345",
    "SoftwareVersions": "syngo 1",
    "ProtocolName": "ThoraxRoutine",
    "ContrastBolusRoute": "IV",
    "ContrastBolusVolume": 80,
    "ReconstructionDiameter": 360,
    "DistanceSourceToDetector": 1040,
    "DistanceSourceToPatient": 570,
    "GantryDetectorTilt": 0,
    "TableHeight": 150,
    "RotationDirection": "CW",
    "ExposureTime": 500,
    "XRayTubeCurrent": 200,
    "Exposure": 100,
    "FilterType": "0",
    "GeneratorPower": 24,
    "FocalSpots": 1.2,
    "ConvolutionKernel": "B30f",
    "PatientPosition": "HFS",
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 19.2,
    "TableSpeed": 30.0,
    "TableFeedPerRotation": 15.0,
    "SpiralPitchFactor": 0.8,
    "StudyInstanceUID": UID.format(0, 88888),
    "SeriesInstanceUID": UID.format(0, 99999),
    "StudyID": "1",
    "SeriesNumber": 3,
    "AcquisitionNumber": 2,
    "InstanceNumber": 1,
    "ImagePositionPatient": "-180.5\\-170.25\\-0000.00",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "FrameOfReferenceUID": UID.format(0, 66666),
    "PositionReferenceIndicator": "",
    "SliceLocation": -100.0,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 8,
    "Columns": 8,
    "PixelSpacing": [0.703125, 0.703125],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SmallestImagePixelValue": 0,
    "LargestImagePixelValue": 4095,
    "WindowCenter": [40, -600],
    "WindowWidth": [400, 1200],
    "RescaleIntercept": -1024,
    "RescaleSlope": 1,
    "RescaleType": "HU",
    "RequestedProcedureDescription": "Chest",
    "PerformedProcedureStepStartDate": "20240102",
    "PerformedProcedureStepStartTime": "101010",
    "PerformedProcedureStepID": "P1",
    "PixelData": np.arange(64, dtype=np.uint16).tobytes(),
}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
