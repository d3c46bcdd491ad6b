"""Vendors by the first words of their names; nothing else of a name survives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.acquisition import KINDS, NUMBERS, VENDORS, number_columns, vendor_of


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIEMENS", "siemens"),
        ("Siemens Healthineers", "siemens"),
        ("SIEMENS at Mercy Hospital", "siemens"),
        ("GE MEDICAL SYSTEMS", "ge"),
        ("GE Healthcare Technologies", "ge"),
        ("G.E. Medical", "other"),
        ("General Electric", "ge"),
        ("Philips Medical Systems", "philips"),
        ("TOSHIBA", "canon"),
        ("TOSHIBA_MEC_CT3", "canon"),
        ("Canon Medical Systems", "canon"),
        ("UIH", "united_imaging"),
        ("Shanghai United Imaging Healthcare", "united_imaging"),
        ("  united-imaging  ", "united_imaging"),
        ("Gemini Scanners", "other"),
        ("Hospital Siemens", "other"),
        ("东软医疗", "other"),
        ("", None),
        (" . ", None),
    ],
)
def test_a_name_is_read_by_its_first_words(name: str, code: str | None) -> None:
    assert vendor_of(name) == code


@given(st.text())
def test_whatever_a_file_says_only_a_code_of_the_list_comes_out(text: str) -> None:
    assert vendor_of(text) in {*VENDORS, None}


def test_the_order_of_levels_is_part_of_the_wire_format() -> None:
    assert VENDORS == ("siemens", "ge", "philips", "canon", "united_imaging", "other")
    assert KINDS["kernel"] == ("smooth", "medium", "sharp")
    assert KINDS["phase"] == ("plain", "enhanced")


def test_columns_are_named_by_time_point_then_number() -> None:
    assert list(number_columns(("pre", "post"))) == [
        f"{point}.{name}" for point in ("pre", "post") for name in ("blood_hu", "noise_hu", "slice_mm")
    ]
    assert number_columns(("post",))["post.noise_hu"] == NUMBERS["noise_hu"]
