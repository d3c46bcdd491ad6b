"""How a scan was acquired, as codes and numbers that every site means alike: what may differ between hospitals.

A manufacturer's name is free text (Manufacturer, 0008,0070), into which some hospitals write their own name. Only a
code of a fixed list is ever kept of it.
"""

import re
from collections.abc import Sequence
from typing import Literal, get_args

from fedescc.common.protocol import NumericVariable

Vendor = Literal["siemens", "ge", "philips", "canon", "united_imaging", "other"]
Kernel = Literal["smooth", "medium", "sharp"]
Phase = Literal["plain", "enhanced"]

VENDORS: tuple[Vendor, ...] = get_args(Vendor)
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
PHASES: tuple[Phase, ...] = get_args(Phase)
KINDS: dict[str, tuple[str, ...]] = {"vendor": VENDORS, "kernel": KERNELS, "phase": PHASES}
"""Categories of a scan and their levels in order; a cohort holds the index of a level, -1 where it is not known."""

UNKNOWN = -1


def _measured(unit: str, low: float, high: float) -> NumericVariable:
    return NumericVariable(type="numeric", unit=unit, range=(low, high), available_at="baseline")


NUMBERS: dict[str, NumericVariable] = {
    "blood_hu": _measured("HU", 0.0, 600.0),
    "noise_hu": _measured("HU", 0.0, 400.0),
    "slice_mm": _measured("mm", 0.0, 20.0),
}
"""Numbers of a scan; their ranges hold whatever `fedescc.client.imaging.quality` measures."""

# By the first words of the name, in lower case and without punctuation. Toshiba's CT division became Canon's in 2018.
_PREFIXES: tuple[tuple[str, Vendor], ...] = (
    ("siemens", "siemens"),
    ("ge", "ge"),
    ("gems", "ge"),
    ("general electric", "ge"),
    ("philips", "philips"),
    ("canon", "canon"),
    ("toshiba", "canon"),
    ("uih", "united_imaging"),
    ("united imaging", "united_imaging"),
    ("shanghai united imaging", "united_imaging"),
)


def vendor_of(manufacturer: str) -> Vendor | None:
    """The code of a manufacturer's name; None where there is no name, ``other`` where it starts like none known."""
    text = " ".join(re.findall(r"[^\W_]+", manufacturer.lower()))
    if not text:
        return None
    return next((code for prefix, code in _PREFIXES if f"{text} ".startswith(f"{prefix} ")), "other")


def number_columns(time_points: Sequence[str]) -> dict[str, NumericVariable]:
    """The numbers at every time point as columns of a table of moments, such as ``post.noise_hu``, in order."""
    return {f"{point}.{name}": variable for point in time_points for name, variable in NUMBERS.items()}
