"""What names of ROIs and label maps mean."""

import pytest

from fedescc.client.intake.rois.roi_names import Reading, RoiNames
from fedescc.common.imaging import Roi
from fedescc.common.study import read_study

NAMES = RoiNames.of(Roi(nodal_name_pattern="(?i)gtvn.*|.*node"))
STRICT = RoiNames.of(Roi(name_pattern="GTV", post_name_pattern="bed", second_reader_pattern=".*_second"))


def reading(*roles: str, second: bool = False) -> Reading:
    return Reading(frozenset(roles), second)  # type: ignore[arg-type] # names of roles


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GTV", reading("pre")),
        (" gtv-1 ", reading("pre")),
        ("Tumour", reading("pre")),
        ("tumour bed", reading("post")),
        ("Heart", reading()),
        ("pre", reading()),
        ("GTV_reader2", reading("pre", second=True)),
        ("GTV R2", reading("pre", second=True)),
        ("tumour bed.reader_2", reading("post", second=True)),
        ("tumour_bed_r2", reading("post", second=True)),
        ("GTVr2", reading("pre")),
        ("Heart_reader2", reading(second=True)),
        ("reader2", reading()),
        ("GTVn 3", reading("nodes")),
        ("GTVn_r2", reading("nodes", second=True)),
        ("lymph node", reading("nodes")),
        ("", reading()),
    ],
)
def test_names_of_rois(name: str, expected: Reading) -> None:
    assert NAMES.of_region(name) == expected


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("pre", reading("pre")),
        ("POST", reading("post")),
        ("pre.reader2", reading("pre", second=True)),
        ("post_r2", reading("post", second=True)),
        ("prefix", reading()),
        ("pre 1", reading()),
        ("GTV 1.2", reading("pre")),
        ("tumour_bed", reading("post")),
        ("CHEST_2", reading()),
    ],
)
def test_names_of_label_maps(stem: str, expected: Reading) -> None:
    assert NAMES.of_file(stem) == expected


def test_the_reader_s_name_may_follow_a_name_that_the_pattern_knows_only_without() -> None:
    assert STRICT.of_region("GTV_second") == reading("pre", second=True)
    assert STRICT.of_region("GTV_left_second") == reading("pre", second=True)
    assert STRICT.of_region("bed.a_second") == reading("post", second=True)
    assert STRICT.of_region("GTV_left") == reading()


def test_one_pattern_may_serve_both_time_points() -> None:
    both = RoiNames.of(Roi(name_pattern="GTV", post_name_pattern="GTV"))
    assert both.of_region("gtv") == reading("pre", "post")
    assert both.of_region("GTV R2") == reading("pre", "post", second=True)


def test_nodes_are_tumours_where_the_study_has_no_name_for_them() -> None:
    assert RoiNames.of(Roi()).of_region("GTVn") == reading("pre")


def test_the_default_study_s_names() -> None:
    imaging = read_study("escc-pcr").imaging
    assert imaging is not None
    names = RoiNames.of(imaging.roi)
    assert names.of_region("GTV") == reading("pre")
    assert names.of_region("tumour_bed") == reading("post")
    assert names.of_file("pre.reader2") == reading("pre", second=True)
