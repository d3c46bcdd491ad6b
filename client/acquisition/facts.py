"""What intake keeps of how each scan was acquired: codes out of fixed lists and measured numbers, no DICOM text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.quality.enhancement import Verdict
from fedescc.client.imaging.quality.kernels import KernelClass, kernel_class
from fedescc.common.acquisition import KINDS, NUMBERS, UNKNOWN, Kernel, Phase, vendor_of

# What is made for soft tissue, for edges within it (detail, chest, Siemens' 45 to 69), and for lung and bone.
_KERNELS: dict[KernelClass, Kernel | None] = {
    "soft": "smooth",
    "sharp": "medium",
    "lung": "sharp",
    "bone": "sharp",
    "unknown": None,
}
_PHASES: dict[Verdict, Phase | None] = {"plain": "plain", "enhanced": "enhanced", "unknown": None}

Acquisition = dict[str, NDArray[Any]]


def scan_codes(rows: Sequence[DicomRow], contrast: Verdict = "unknown") -> dict[str, str]:
    """Vendor, kernel and phase of one scan by code; what is not known is left out.

    Args:
        rows: headers of the scan's images; the first tells vendor and kernel.
        contrast: what image and tags say of contrast medium.

    """
    if not rows:
        return {}
    first = rows[0]
    return known_codes(first.manufacturer, first.kernel, contrast)


def known_codes(manufacturer: str, kernel: str, contrast: Verdict = "unknown") -> dict[str, str]:
    """As `scan_codes`, from Manufacturer (0008,0070) and Convolution Kernel (0018,1210) as stored."""
    kind = kernel_class(kernel, manufacturer)
    found = {"vendor": vendor_of(manufacturer), "kernel": _KERNELS[kind], "phase": _PHASES[contrast]}
    return {name: code for name, code in found.items() if code is not None}


def acquisition_arrays(
    time_points: Sequence[str], codes: Sequence[Mapping[str, str]], measures: Sequence[Mapping[str, float]]
) -> Acquisition:
    """A cohort's acquisition: categories (n, t) int8, -1 unknown; numbers (n, t) float64, NaN missing.

    Args:
        time_points: the study's.
        codes: of every patient, as ``pre.vendor``; a code that this version does not know is unknown.
        measures: of every patient, as ``pre.noise_hu``; numbers beyond their range are put at its end.

    """
    arrays: Acquisition = {}
    for name, levels in KINDS.items():
        found = [[_index(levels, one.get(f"{point}.{name}")) for point in time_points] for one in codes]
        arrays[name] = np.array(found, np.int8).reshape(len(codes), len(time_points))
    for name, variable in NUMBERS.items():
        values = [[one.get(f"{point}.{name}", np.nan) for point in time_points] for one in measures]
        table = np.array(values, np.float64).reshape(len(measures), len(time_points))
        arrays[name] = np.clip(table, *variable.range)
    return arrays


def acquisition_of(cohort: SiteCohort, time_points: Sequence[str]) -> Acquisition:
    """A cohort's acquisition; what it does not say is unknown."""
    nothing: list[dict[str, Any]] = [{} for _ in cohort.keys]
    return acquisition_arrays(time_points, nothing, nothing) | cohort.acquisition


def _index(levels: Sequence[str], code: str | None) -> int:
    return levels.index(code) if code in levels else UNKNOWN
