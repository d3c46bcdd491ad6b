"""Kernel names of the vendors, and what class they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.imaging.quality.kernels import is_sharp, kernel_class

TABLE = {
    "SIEMENS": {
        "soft": ["B30f", "B31f", "B40s", "B20f", "I30f\\3", "I31f\\2", "Br38f\\3", "Br40d\\3", "Br44", "Bv40d", "Qr40",
                 "D30f", "['Br40d', '3']"],
        "sharp": ["B45f", "B46f", "B50f", "B60f", "I50f\\3", "Br49", "Br59d\\3", "Hr59"],
        "lung": ["Bl57d\\3", "Bl64", "B70f", "B75h", "B80f", "I70f\\3"],
        "bone": ["Ur77", "U90u", "Hr72", "S80s"],
    },
    "GE MEDICAL SYSTEMS": {
        "soft": ["STANDARD", "SOFT", "STND", "standard"],
        "sharp": ["DETAIL", "CHST", "CHEST", "EDGE", "ULTRA"],
        "lung": ["LUNG", "Lung"],
        "bone": ["BONE", "BONEPLUS", "BONE2"],
    },
    "Philips": {
        "soft": ["A", "B", "C", "UB", "Standard", "Smooth"],
        "sharp": ["D", "Y-Sharp"],
        "lung": ["L", "Lung"],
        "bone": ["YA", "YB", "YC", "E"],
    },
    "TOSHIBA": {
        "soft": ["FC01", "FC03", "FC08", "FC08-H", "FC13", "FC18", "FC26"],
        "lung": ["FC50", "FC51", "FC52", "FC55", "FC86"],
        "bone": ["FC30", "FC35", "FC80", "FC81"],
    },
    "Canon Medical Systems": {"soft": ["FC08"], "lung": ["FC52"]},
    "UIH": {"soft": ["B_SOFT_C", "B_SOFT_A", "B_VSOFT_B"], "sharp": ["B_SHARP_C", "B_VSHARP_C"], "lung": ["LUNG_A"],
            "bone": ["BONE_B"]},
}  # fmt: skip
CASES = [(name, vendor, kind) for vendor, kinds in TABLE.items() for kind, names in kinds.items() for name in names]


@pytest.mark.parametrize(("name", "vendor", "kind"), CASES, ids=[f"{v.split()[0]}-{n}" for n, v, _ in CASES])
def test_known_names(name: str, vendor: str, kind: str) -> None:
    assert kernel_class(name, vendor) == kind


@pytest.mark.parametrize(
    ("name", "vendor"),
    [("", "SIEMENS"), ("11", ""), ("FC99", "TOSHIBA"), ("B", "SIEMENS"), ("L", "GE"), ("C", ""), ("B300f", "SIEMENS"),
     ("30", "HITACHI"), ("\\3", "SIEMENS"), ("FC", "TOSHIBA"), ("bespoke", "")],
)  # fmt: skip
def test_unknown_names(name: str, vendor: str) -> None:
    assert kernel_class(name, vendor) == "unknown"


def test_philips_letters_mean_something_with_philips_only() -> None:
    """A one-letter code matched as a prefix once made BONE soft elsewhere."""
    assert kernel_class("B", "Philips") == "soft"
    assert kernel_class("BONE", "Philips") == "bone"
    assert kernel_class("L", "SIEMENS") == "unknown"


def test_an_anonymised_manufacturer_still_leaves_what_is_unambiguous() -> None:
    assert [kernel_class(name, "") for name in ("B30f", "FC51", "STANDARD", "B_SOFT_C", "Bl57")] == [
        "soft",
        "lung",
        "soft",
        "soft",
        "lung",
    ]


def test_the_sharper_word_counts() -> None:
    assert kernel_class("SOFT LUNG", "GE") == "lung"
    assert kernel_class("STANDARD/BONE", "GE") == "bone"


@given(st.sampled_from("BID"), st.integers(10, 89), st.sampled_from(["", "f", "s", "d", "h"]))
def test_siemens_kernels_never_get_softer_with_their_number(family: str, number: int, suffix: str) -> None:
    order = {"soft": 0, "sharp": 1, "lung": 2}
    low, high = (kernel_class(f"{family}{n}{suffix}", "SIEMENS") for n in (number, number + 1))
    assert order[low] <= order[high]


@given(st.text(max_size=30), st.text(max_size=20))
def test_any_text_has_a_class(kernel: str, manufacturer: str) -> None:
    assert kernel_class(kernel, manufacturer) in {"soft", "sharp", "lung", "bone", "unknown"}


def test_two_classes() -> None:
    kinds = ("soft", "sharp", "lung", "bone", "unknown")
    assert [is_sharp(kind) for kind in kinds] == [False, True, True, True, None]
