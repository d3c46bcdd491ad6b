"""Which of several CTs of one study is used, and what is said of the others."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.intake.choice import Choice, Look, choose

Make = Callable[..., Series]
PLAIN, BRIGHT = Look("plain", 45.0, "soft"), Look("enhanced", 200.0, "soft")


@pytest.fixture
def make(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> Make:
    """Factory of an accepted series: uid, gap in mm, number of slices, and header fields."""
    ct_series(tmp_path, np.zeros((20, 4, 4), np.uint16))
    (template,) = group_series(index_folder(tmp_path).rows)

    def change(uid: str, gap: float = 2.0, slices: int = 20, **header: Any) -> Series:
        assert template.geometry is not None
        rows = tuple(row._replace(**header) for row in template.rows[:slices])
        spacing = (gap, *template.geometry.spacing_zyx_mm[1:])
        grid = dataclasses.replace(template.geometry, shape_zyx=(slices, 4, 4), spacing_zyx_mm=spacing)
        return Series(uid, rows, grid, (), ())

    return change


def pick(
    *pre: Series, post: tuple[Series, ...] = (), looks: dict[str, Look] | None = None, drawn: tuple[str, ...] = ()
) -> Choice:
    candidates = {"pre": pre} | ({"post": post} if post else {})
    return choose(
        candidates,  # type: ignore[arg-type] # the literals are time points
        lambda _, series: series.uid in drawn,
        lambda series: (looks or {}).get(series.uid, BRIGHT),
        150.0,
    )


def uids(choice: Choice) -> dict[str, str]:
    return {point: series.uid for point, series in choice.series.items()}


def lost(choice: Choice) -> dict[str, str]:
    return {series.uid: code for _, series, code in choice.lost}


@pytest.mark.parametrize(
    ("better", "worse", "code"),
    [
        ({"gap": 2.0}, {"gap": 2.2}, "thicker_slices"),
        ({"slices": 20}, {"slices": 15}, "shorter"),
        ({"series_number": 3}, {"series_number": 4}, "later_in_order"),
        ({"series_number": 3}, {"series_number": None}, "later_in_order"),
        ({"gap": 2.01, "series_number": 1}, {"gap": 2.0, "series_number": 2}, "later_in_order"),
        ({}, {"gap": 0.5, "slices": 19}, "part_of_the_scan"),
    ],
)
def test_geometry_decides_last(make: Make, better: dict[str, Any], worse: dict[str, Any], code: str) -> None:
    a, b = make("a", **worse), make("b", **better)
    for order in ((a, b), (b, a)):
        assert uids(pick(*order)) == {"pre": "b"}
        assert lost(pick(*order)) == {"a": code}
    assert uids(pick(a, b, drawn=("a",))) == {"pre": "a"}, "the series that was drawn on comes before all that"
    assert lost(pick(a, b, drawn=("a",))) == {"b": "not_drawn_on"}


@pytest.mark.parametrize(
    ("look", "code"),
    [
        (PLAIN, "less_enhanced"),
        (Look("unknown", None, "soft"), "less_enhanced"),
        (Look("enhanced", 210.0, "sharp"), "sharper_kernel"),
        (Look("enhanced", 210.0, "unknown"), "sharper_kernel"),
    ],
)
def test_contrast_and_a_soft_kernel_come_before_thin_slices(make: Make, look: Look, code: str) -> None:
    choice = pick(make("thin", gap=1.0), make("thick", gap=1.5), looks={"thin": look})
    assert (uids(choice), lost(choice)) == ({"pre": "thick"}, {"thin": code})


def test_an_unclear_scan_goes_before_one_that_is_seen_to_be_plain(make: Make) -> None:
    looks = {"unclear": Look("unknown", None, "soft"), "plain": PLAIN}
    assert uids(pick(make("plain"), make("unclear"), looks=looks)) == {"pre": "unclear"}


def test_both_cts_get_the_same_kernel_where_there_is_a_choice(make: Make) -> None:
    sharp = Look("enhanced", 200.0, "sharp")
    before = (make("pre.soft", gap=2.0), make("pre.sharp", gap=1.5))
    after = (make("post.soft", gap=2.0), make("post.sharp", gap=1.5))
    looks = {"pre.sharp": sharp, "post.sharp": sharp}
    assert uids(pick(*before, post=after, looks=looks)) == {"pre": "pre.soft", "post": "post.soft"}
    forced = pick(*before, post=after[1:], looks=looks)
    assert (uids(forced)["pre"], lost(forced)) == ("pre.sharp", {"pre.soft": "kernel_unlike_other_ct"})


def test_the_first_ct_yields_where_the_second_has_no_choice(make: Make) -> None:
    """The second CT has a late phase only; the first has both, and the arterial one would differ by 200 HU."""
    looks = {"arterial": Look("enhanced", 350.0, "soft"), "late": Look("enhanced", 150.0, "soft")}
    looks["post"] = Look("enhanced", 150.0, "soft")
    choice = pick(make("arterial", gap=1.0), make("late", gap=1.5), post=(make("post"),), looks=looks)
    assert uids(choice) == {"pre": "late", "post": "post"}
    assert lost(choice) == {"arterial": "enhancement_unlike_other_ct"}


def test_a_small_difference_of_phase_does_not_outweigh_thin_slices(make: Make) -> None:
    looks = {"a": Look("enhanced", 260.0, "soft"), "post": Look("enhanced", 150.0, "soft")}
    choice = pick(make("a", gap=1.0), make("b", gap=1.5), post=(make("post"),), looks=looks)
    assert uids(choice)["pre"] == "a"


def test_what_was_drawn_on_is_taken_however_long_another_ct_of_the_day_is(make: Make) -> None:
    """The CT of a PET/CT covers the body, and the chest CT of the same day was drawn on."""
    chest, body = make("chest", slices=9), make("body", slices=20)
    assert uids(pick(chest, body, drawn=("chest",))) == {"pre": "chest"}
    assert uids(pick(chest, body)) == {"pre": "body"}


def test_half_the_longest_is_a_scan_and_less_is_a_detail(make: Make) -> None:
    whole = make("whole", gap=2.0, slices=20)
    assert uids(pick(whole, make("half", gap=1.0, slices=20))) == {"pre": "half"}
    assert uids(pick(whole, make("detail", gap=1.0, slices=19))) == {"pre": "whole"}


def test_nothing_is_measured_where_there_is_no_choice(make: Make) -> None:
    def never(*_: object) -> Any:
        raise AssertionError

    choice = choose({"pre": [make("a")], "post": [make("b")]}, never, never, 150.0)
    assert (uids(choice), choice.lost) == ({"pre": "a", "post": "b"}, ())


def test_the_order_of_candidates_does_not_matter(make: Make) -> None:
    series = [make(name) for name in ("1.3", "1.2", "1.4")]
    for turned in (series, series[::-1]):
        assert uids(pick(*turned)) == {"pre": "1.2"}
        assert set(lost(pick(*turned)).values()) == {"later_in_order"}
