"""The simulated hospitals: one scanner, one contrast protocol and one case mix each.

Pixels of 1.5-1.8 mm on a small thorax instead of 0.7 mm on a large one: the model grid is 1.5 mm, and a
volume must cost milliseconds. Sites differ visibly on purpose: spacing, kernel, noise, contrast phase,
HU offset, storage order, mask format, stage and pCR rate.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fedescc.common.errors import Refusal

TEST_SITE = 100
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Scanner:
    """One site's CT protocol and patients.

    Attributes:
        pixel_mm, slice_mm: in-plane spacing and slice spacing (= thickness), mm.
        matrix, slices: rows = columns, and slices of a volume.
        kernel_mm: SD of the in-plane reconstruction kernel, mm.
        noise_hu: SD of the noise in the finished image, HU.
        offset_hu: calibration error, HU.
        aorta_hu, phase_sd_hu: mean aortic enhancement and its SD from scan to scan, HU.
        stage_shift: case mix, in SD of the latent stage.
        rate_shift: difference in the log odds of pCR that no variable explains.
        descending: instance numbers run from head to feet.
        signed: stored values are signed with intercept 0, else unsigned with intercept -1024.
        masks: how this site's ROIs are stored.

    """

    manufacturer: str
    model: str
    kernel: str
    pixel_mm: float
    slice_mm: float
    matrix: int
    slices: int
    kernel_mm: float
    noise_hu: float
    offset_hu: float
    aorta_hu: float
    phase_sd_hu: float
    stage_shift: float
    rate_shift: float
    descending: bool
    signed: bool
    masks: Literal["rtstruct", "nifti"]


_SCANNERS = (
    Scanner("SIEMENS", "SOMATOM Definition Flash", "B30f", 1.6, 2.0, 128, 46, 0.9, 11, 0, 210, 20,
            0.0, 0.0, descending=False, signed=False, masks="rtstruct"),
    Scanner("GE MEDICAL SYSTEMS", "Revolution CT", "STANDARD", 1.7, 2.5, 120, 38, 0.8, 17, 5, 175, 22,
            0.3, 0.1, descending=True, signed=True, masks="nifti"),
    Scanner("Philips", "iCT 256", "B", 1.8, 3.0, 112, 33, 1.2, 9, -6, 245, 20,
            0.0, 0.25, descending=False, signed=False, masks="rtstruct"),
    Scanner("TOSHIBA", "Aquilion ONE", "FC08", 1.5, 2.5, 128, 38, 1.0, 14, 8, 155, 22,
            -0.3, -0.25, descending=True, signed=True, masks="nifti"),
    Scanner("UIH", "uCT 760", "B_SOFT_C", 1.65, 2.0, 124, 46, 1.1, 20, -4, 225, 24,
            0.5, 0.0, descending=True, signed=False, masks="rtstruct"),
)  # fmt: skip


def scanner(site: int) -> Scanner:
    """The scanner of a site; site ``100 + k`` means test patients of site ``k``, on the same scanner.

    Sites beyond the fifth reuse a table entry with another kernel, noise, contrast phase and case mix.

    Raises:
        Refusal: site outside 0..25 and 100..125.

    """
    number = _number(site)
    base = _SCANNERS[number % len(_SCANNERS)]
    if number < len(_SCANNERS):
        return base
    rng = np.random.default_rng([0x5CA7, number])
    return replace(
        base,
        kernel_mm=base.kernel_mm * rng.uniform(0.85, 1.15),
        noise_hu=base.noise_hu * rng.uniform(0.8, 1.25),
        offset_hu=rng.uniform(-8, 8),
        aorta_hu=rng.uniform(155, 245),
        stage_shift=rng.uniform(-0.4, 0.5),
        rate_shift=rng.uniform(-0.3, 0.3),
    )


def site_letter(site: int) -> str:
    """Letter of a site: ``a`` for 0 and for its test patients 100."""
    return _LETTERS[_number(site)]


def patient_id(site: int, index: int) -> str:
    """Identifier of a synthetic patient, such as ``SYN-a-0007``; ``SYN-test-a-0007`` for test patients."""
    return f"SYN-{'test-' if site >= TEST_SITE else ''}{site_letter(site)}-{index:04d}"


def _number(site: int) -> int:
    number = site - TEST_SITE if site >= TEST_SITE else site
    if not 0 <= number < len(_LETTERS):
        raise Refusal("unknown-site", f"no simulated site {site}", f"use 0 to {len(_LETTERS) - 1}, or 100 + that")
    return number
