"""What intake keeps of a scan's acquisition: codes, never text, and numbers inside their ranges."""

from typing import Any

import numpy as np
import pytest
from scan_sites import scan_cohort

from fedescc.client.acquisition.facts import acquisition_arrays, acquisition_of, known_codes, scan_codes
from fedescc.client.imaging.quality.kernels import kernel_class
from fedescc.common.acquisition import KERNELS, PHASES, VENDORS
from fedescc.simulations.patients.scanners import scanner

POINTS = ("pre", "post")


@pytest.mark.parametrize(
    ("kernel", "manufacturer", "code"),
    [
        ("B30f", "SIEMENS", "smooth"),
        ("B60f", "SIEMENS", "medium"),
        ("B80f", "SIEMENS", "sharp"),
        ("STANDARD", "GE MEDICAL SYSTEMS", "smooth"),
        ("LUNG", "GE MEDICAL SYSTEMS", "sharp"),
        ("BONEPLUS", "GE MEDICAL SYSTEMS", "sharp"),
        ("FC08", "TOSHIBA", "smooth"),
        ("FC51", "TOSHIBA", "sharp"),
        ("D", "Philips", "medium"),
    ],
)
def test_kernels_have_three_classes(kernel: str, manufacturer: str, code: str) -> None:
    assert known_codes(manufacturer, kernel)["kernel"] == code


def test_what_is_not_known_is_left_out() -> None:
    assert kernel_class("??", "SIEMENS") == "unknown"
    assert known_codes("SIEMENS", "??") == {"vendor": "siemens"}
    assert known_codes("", "", "plain") == {"phase": "plain"}
    assert scan_codes([], "plain") == {}


def test_every_simulated_scanner_has_a_vendor_of_its_own() -> None:
    vendors = [known_codes(scanner(site).manufacturer, scanner(site).kernel)["vendor"] for site in range(5)]
    assert sorted(vendors) == ["canon", "ge", "philips", "siemens", "united_imaging"]


def test_arrays_hold_codes_and_numbers_by_time_point() -> None:
    codes = [{"pre.vendor": "ge", "post.vendor": "other", "post.phase": "enhanced"}, {"pre.kernel": "sharp"}]
    measures: list[dict[str, Any]] = [{"pre.noise_hu": 11.5, "post.noise_hu": 900.0, "pre.similarity": 0.9}, {}]
    found = acquisition_arrays(POINTS, codes, measures)
    assert found["vendor"].tolist() == [[VENDORS.index("ge"), VENDORS.index("other")], [-1, -1]]
    assert found["kernel"].tolist() == [[-1, -1], [KERNELS.index("sharp"), -1]]
    assert found["phase"].tolist() == [[-1, PHASES.index("enhanced")], [-1, -1]]
    assert found["noise_hu"][0].tolist() == [11.5, 400.0]  # beyond what is measured: at the end of its range
    assert np.isnan(found["noise_hu"][1]).all()
    assert np.isnan(found["blood_hu"]).all()
    assert {name: table.dtype.str for name, table in found.items()} == {
        **dict.fromkeys(("vendor", "kernel", "phase"), "|i1"),
        **dict.fromkeys(("blood_hu", "noise_hu", "slice_mm"), "<f8"),
    }


def test_a_code_of_another_version_is_unknown() -> None:
    assert acquisition_arrays(("pre",), [{"pre.vendor": "photon_counting"}], [{}])["vendor"].tolist() == [[-1]]


def test_nobody_has_arrays_of_no_rows() -> None:
    assert {table.shape for table in acquisition_arrays(POINTS, [], []).values()} == {(0, 2)}


def test_a_cohort_that_says_nothing_is_unknown_and_what_it_says_counts() -> None:
    cohort = scan_cohort(0, 6)
    assert (acquisition_of(cohort, POINTS)["vendor"] == -1).all()
    cohort.acquisition["vendor"] = np.ones((6, 2), np.int8)
    found = acquisition_of(cohort, POINTS)
    assert (found["vendor"] == 1).all()
    assert np.isnan(found["slice_mm"]).all()
