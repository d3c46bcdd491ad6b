"""Seconds and memory from a folder of 300 x 512 x 512 CT slices to a 96^3 window at 1 mm, beside the usual ways.

Peers: MONAI's dictionary pipeline, SimpleITK's series reader with resampling, and the least that any method must do
(ROI-first: headers, the touched slices, one interpolation; no checks). Each run is a process of its own, methods take
turns, imports are left out, and the files lie in the system's cache. The series is written to a temporary folder
first: body, lungs, a vessel, noise of 15 HU, 12 bits stored.

With JPEG 2000, decoding is nearly all of the time of fedescc and of ROI-first, so there the lead over methods that
decode every slice is about the number of slices over those touched, 300 / 97, and what their own steps take.

Run: python tests/bench/preprocessing.py
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

SLICES, PIXELS, SIZE = 300, 512, 96
ORIGIN = (-230.0, -205.0, 12.0)
CENTRE = (-7.27, 11.61, 158.34)  # x, y, z in mm: off the voxels, so that every axis is interpolated
LOW, HIGH = -160.0, 240.0
REPEATS = 3
Work = Callable[[], Any]


class Case(NamedTuple):
    """One series: a folder's name, its pixels in mm, whether JPEG 2000, and what that means."""

    folder: str
    pixel: float
    compressed: bool
    title: str


CASES = (
    Case("native", 0.9, False, "native, pixels of 0.9 mm: no prefilter, so all methods give the same voxels"),
    Case("jpeg2000", 0.9, True, "JPEG 2000 lossless, pixels of 0.9 mm: the same voxels again"),
    Case("fine", 0.7, False, "native, pixels of 0.7 mm: fedescc alone filters against aliasing, so its voxels differ"),
)


def main() -> None:
    """Write the series, run every method on each in turn, and print a table."""
    with tempfile.TemporaryDirectory() as name:
        _child("write", name)
        for case in CASES:
            runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
            for _ in range(REPEATS):
                for method, done in runs.items():
                    done.append(_child(method, name, case.folder))
            print(_table(Path(name), case, runs))  # noqa: T201
    print("goals: MONAI >= 40, SimpleITK >= 8, ROI-first >= 0.67 times fedescc; <= 300 MB; difference <= 1e-3")  # noqa: T201


def _child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    result: dict[str, float] = json.loads(answer)
    return result


def _table(folder: Path, case: Case, runs: dict[str, list[dict[str, float]]]) -> str:
    seconds = {method: [run["seconds"] for run in done] for method, done in runs.items()}
    ours = median(seconds["fedescc"])
    window = np.load(folder / f"{case.folder}-fedescc.npy")
    lines = [f"\n{case.title}", f"{'':27}   median (min - max)      x fedescc    peak MB   difference   mean"]
    for method, (title, _) in METHODS.items():
        other = np.load(folder / f"{case.folder}-{method}.npy")
        same = "" if method in {"monai", "fedescc"} else f"{np.abs(other - window).max():.1e}"
        took, peak = seconds[method], max(run["megabytes"] for run in runs[method])
        lines.append(
            f"{title:27} {median(took):7.3f} s ({min(took):6.3f} - {max(took):6.3f}) {median(took) / ours:8.2f}"
            f" {peak:10.0f} {same:>12} {other.mean():8.4f}"
        )
    return "\n".join(lines)


def _measure(method: str, folder: Path, case: Case) -> dict[str, float]:
    """Seconds and megabytes above the imports of one run in this process."""
    work = METHODS[method][1](folder / case.folder, case)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    window = work()
    seconds = time.perf_counter() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert window.shape == (SIZE,) * 3
    np.save(folder / f"{case.folder}-{method}.npy", window)
    return {"seconds": seconds, "megabytes": megabytes}


def monai(folder: Path, case: Case) -> Work:
    """LoadImaged, Orientationd, Spacingd, ScaleIntensityRanged, crop; its own grid, so near but not on CENTRE."""
    from monai.data import PydicomReader  # the reader of folders that needs no ITK
    from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityRanged, Spacingd, SpatialCropd

    warnings.simplefilter("ignore")
    middle = [round(c - o) for c, o in zip(CENTRE, ORIGIN, strict=True)]
    middle[:2] = [int(PIXELS * case.pixel) - m for m in middle[:2]]  # right and anterior first, as Orientationd is told
    pipeline = Compose(
        [
            LoadImaged("image", reader=PydicomReader(), ensure_channel_first=True),
            Orientationd("image", axcodes="RAS"),
            Spacingd("image", pixdim=(1.0, 1.0, 1.0), mode="bilinear"),
            ScaleIntensityRanged("image", LOW, HIGH, 0.0, 1.0, clip=True),
            SpatialCropd("image", roi_center=middle, roi_size=(SIZE,) * 3),
        ]
    )

    def run() -> np.ndarray:
        window: np.ndarray = pipeline({"image": str(folder)})["image"][0].numpy()
        return window

    return run


def simple_itk(folder: Path, _: Case) -> Work:
    """ImageSeriesReader, resampling of the whole volume, window, crop."""
    import SimpleITK as sitk

    def run() -> np.ndarray:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        shift = (np.asarray(CENTRE) - (SIZE - 1) / 2 - image.GetOrigin()) % 1
        size = [int(n * s) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
        origin = [float(v) for v in np.add(image.GetOrigin(), shift)]
        whole = sitk.Resample(
            image,
            size,
            sitk.Transform(),
            sitk.sitkLinear,
            origin,
            (1.0,) * 3,
            image.GetDirection(),
            -1024,
            sitk.sitkFloat32,
        )
        window = np.clip((sitk.GetArrayFromImage(whole) - LOW) / (HIGH - LOW), 0, 1)
        first = np.rint(np.asarray(CENTRE) - (SIZE - 1) / 2 - origin).astype(int)
        return window[tuple(slice(n, n + SIZE) for n in first[::-1])]

    return run


def roi_first(folder: Path, _: Case) -> Work:
    """Headers, the touched slices, one interpolation, window: no check of anything."""
    import pydicom.pixels.decoders
    import SimpleITK as sitk

    tags = ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SeriesInstanceUID"]

    def run() -> np.ndarray:
        headers = []
        for file in folder.iterdir():
            header = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=[*tags, "RescaleSlope", "RescaleIntercept"]
            )
            headers.append((float(header.ImagePositionPatient[2]), file, header))
        headers.sort(key=lambda one: one[0])
        start = [float(c - (SIZE - 1) / 2) for c in CENTRE]
        touched = [one for one in headers if start[2] - 2 <= one[0] <= start[2] + SIZE + 2]
        first = touched[0][2]
        image = sitk.GetImageFromArray(np.stack([pydicom.dcmread(file).pixel_array for _, file, _ in touched]))
        image.SetSpacing((float(first.PixelSpacing[1]), float(first.PixelSpacing[0]), 1.0))
        image.SetOrigin([float(v) for v in first.ImagePositionPatient])
        axes, size = (1, 0, 0, 0, 1, 0, 0, 0, 1), [SIZE] * 3
        part = sitk.Resample(
            image, size, sitk.Transform(), sitk.sitkLinear, start, (1.0,) * 3, axes, -1024, sitk.sitkFloat32
        )
        hu = sitk.GetArrayFromImage(part) * float(first.RescaleSlope) + float(first.RescaleIntercept)
        return np.clip((hu - LOW) / (HIGH - LOW), 0, 1)

    return run


def fedescc(folder: Path, case: Case) -> Work:
    """Index, grouping, volume and preprocessing, with all their checks."""
    volume = _volume_of()
    tensor = _tensor_of(case)
    return lambda: tensor(volume(folder))


def indexed(folder: Path, case: Case) -> Work:
    """Preprocessing alone, of a series that was indexed before."""
    volume = _volume_of()(folder)
    tensor = _tensor_of(case)
    return lambda: tensor(volume)


def _volume_of() -> Callable[[Path], Any]:
    from fedescc.client.imaging.headers.index import index_folder
    from fedescc.client.imaging.volumes.series import group_series
    from fedescc.client.imaging.volumes.volume import open_volume

    def volume(folder: Path) -> Any:
        index = index_folder(folder)
        (series,) = group_series(index.rows, index.rejected)
        return open_volume(series)

    return volume


def _tensor_of(case: Case) -> Callable[[Any], np.ndarray]:
    import pydicom.pixels.decoders  # noqa: F401  as for the peers, not in the time
    import scipy.ndimage
    import SimpleITK  # noqa: F401

    from fedescc.client.imaging.preprocess import GridSpec, preprocess

    spec = GridSpec((SIZE,) * 3, (1.0,) * 3, (LOW, HIGH))
    mask = np.zeros((SLICES, PIXELS, PIXELS), dtype=bool)
    x, y, z = (round((c - o) / s) for c, o, s in zip(CENTRE, ORIGIN, (case.pixel, case.pixel, 1.0), strict=True))
    ball = scipy.ndimage.distance_transform_edt(np.pad(np.ones((39,) * 3), 1)) > 8
    mask[z - 20 : z + 21, y - 20 : y + 21, x - 20 : x + 21] = ball
    return lambda volume: preprocess(volume, mask, spec, centre_xyz_mm=CENTRE).image


METHODS: dict[str, tuple[str, Callable[[Path, Case], Work]]] = {
    "monai": ("MONAI 1.6 (PydicomReader)", monai),
    "simple_itk": ("SimpleITK", simple_itk),
    "roi_first": ("ROI-first, no checks", roi_first),
    "fedescc": ("fedescc from the folder", fedescc),
    "indexed": ("fedescc, already indexed", indexed),
}


def write(folder: Path) -> None:
    """All series of CASES, slices in files of random order."""
    hu = _thorax()
    for case in CASES:
        (folder / case.folder).mkdir()
        order = np.random.default_rng(2).permutation(SLICES)
        for k, plane in enumerate(hu):
            dataset = _slice(k, plane, case.pixel)
            if case.compressed:
                dataset.compress("1.2.840.10008.1.2.4.90", encoding_plugin="pylibjpeg")
            dataset.save_as(folder / case.folder / f"{order[k]:04}.dcm", enforce_file_format=True)


def _thorax() -> np.ndarray:
    """HU (z, y, x), int16: body, lungs, a bright vessel, noise of 15 HU that neighbours share."""
    from scipy.ndimage import gaussian_filter

    z, y, x = np.ogrid[:SLICES, :PIXELS, :PIXELS]
    noise = np.random.default_rng(1).standard_normal((SLICES, PIXELS, PIXELS), dtype=np.float32)
    noise = gaussian_filter(noise, (0.5, 1, 1))
    body = ((y - 256) / 190) ** 2 + ((x - 256) / 230) ** 2 < 1
    lungs = sum(((y - 250) / 110) ** 2 + ((x - middle) / 80) ** 2 < 1 for middle in (150, 362))
    vessel = (y - 256 - 12 * np.sin(z / 30)) ** 2 + (x - 256) ** 2 < 18**2
    hu = np.where(vessel, 180, np.where(body, np.where(lungs, -850, 40), -1000)) + noise * (15 / noise.std())
    return np.rint(hu).clip(-1024, 3071).astype(np.int16)


def _slice(k: int, hu: np.ndarray, pixel: float) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
    dataset.Modality, dataset.ImageType, dataset.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.ImagePositionPatient = [*ORIGIN[:2], ORIGIN[2] + k]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [pixel, pixel]
    dataset.SliceThickness, dataset.RescaleSlope, dataset.RescaleIntercept = 1, 1, -1024
    dataset.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]))
        print("{}")  # noqa: T201
    elif len(sys.argv) == 4:
        chosen = next(case for case in CASES if case.folder == sys.argv[3])
        print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), chosen)))  # noqa: T201
    else:
        main()
