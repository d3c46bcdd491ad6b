"""The federation's scale of intensities, and where a scan's map to it bends."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from fedescc.common.imaging import Grid, Imaging
from fedescc.common.tabular.harmonisation import Harmonisation, LandmarkSums, in_window

WINDOW = (-160.0, 340.0)
REFERENCE = Harmonisation(window_hu=WINDOW, fat=0.12, bright=0.7)


def sums(scans: list[int], totals: list[list[int]]) -> LandmarkSums:
    return LandmarkSums(np.array(scans, np.int64), np.array(totals, np.int64))


def mapped(landmarks: list[float], values: list[float]) -> list[float]:
    source, target = REFERENCE.nodes(np.array([landmarks]))
    return np.interp(values, source[0], target[0]).tolist()


def test_hu_become_intensities() -> None:
    assert in_window(WINDOW, -160, 90, 340) == (0, 0.5, 1)


def test_the_reference_is_the_mean_of_all_scans_whatever_their_time_point() -> None:
    unit = 1 << 20
    total = sums([2, 1], [[unit // 4, unit + unit // 2], [unit // 8, unit * 3 // 4]])
    found = Harmonisation.from_sums(total, WINDOW)
    assert found is not None
    assert (found.fat, found.bright) == (0.125, 0.75)


def test_no_scan_gives_no_reference() -> None:
    assert Harmonisation.from_sums(sums([0, 0], [[0, 0], [0, 0]]), WINDOW) is None


def test_totals_do_not_depend_on_the_order_of_sites() -> None:
    parts = [sums([k, 2 * k], [[10**k, 7], [k, 10 ** (2 * k)]]) for k in (1, 2, 3)]
    totals = [a + b + c for a, b, c in itertools.permutations(parts)]
    assert {(t.scans.tobytes(), t.totals.tobytes()) for t in totals} == {(totals[0].scans.tobytes(),
        totals[0].totals.tobytes())}  # fmt: skip
    assert totals[0].totals.tolist() == [[1110, 21], [6, 1010100]]


@pytest.mark.parametrize("totals", [[[-1, 0], [0, 0]], [[5 * (1 << 20) + 1, 0], [0, 0]], [[0, 0], [1, 0]]])
def test_impossible_sums_are_found(totals: list[list[int]]) -> None:
    assert not sums([5, 0], totals).possible
    assert sums([5, 0], [[5 * (1 << 20), 0], [0, 0]]).possible


def test_landmarks_come_to_lie_on_the_reference_and_the_ends_stay() -> None:
    assert mapped([0.16, 0.64], [0, 0.16, 0.64, 1]) == pytest.approx([0, 0.12, 0.7, 1])


def test_a_scanners_offset_moves_soft_tissue_without_contrast_medium_by_as_much() -> None:
    # Fat is 0.04 too bright, so what is 40 HU (0.4) shows at 0.44; between it and the bright landmark all is stretched.
    assert mapped([0.16, 0.64], [0.44, 0.54]) == pytest.approx([0.4, 0.55])


def test_a_scan_on_the_reference_or_without_landmarks_stays_as_it_is() -> None:
    values = np.linspace(0, 1, 101).tolist()
    for landmarks in ([0.12, 0.7], [np.nan, np.nan], [np.nan, 0.6]):
        assert mapped(landmarks, values) == pytest.approx(values)


def test_maps_increase_wherever_the_landmarks_lie_in_their_zones() -> None:
    fat, bright = np.meshgrid(np.linspace(0.0201, 0.2599, 9), np.linspace(0.5, 0.999, 9))
    for reference in (REFERENCE, Harmonisation(window_hu=WINDOW, fat=0.2599, bright=0.5)):
        source, target = reference.nodes(np.stack([fat.ravel(), bright.ravel()], axis=1))
        assert (np.diff(source, axis=1) > 0).all()
        assert (np.diff(target, axis=1) > 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"fat": 0.0},
        {"fat": 0.35},
        {"bright": 0.45},
        {"bright": 1.0},
        {"fat": 0.7, "bright": 0.12},
        {"window_hu": (340, -160)},
        {"window_hu": (-160, -160)},
        {"window_hu": (-1000, 400)},  # these landmarks would be no soft tissue in it
    ],
)
def test_a_reference_out_of_order_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Harmonisation.model_validate({**REFERENCE.model_dump(), **change})


@pytest.mark.parametrize(("window", "fits"), [((-160, 340), True), ((-160, 240), False), ((-100, 300), False)])
def test_a_study_harmonises_only_what_its_window_shows(window: tuple[float, float], fits: bool) -> None:
    grid = Grid(size_zyx=(16, 16, 16), spacing_zyx_mm=(3, 3, 3), window_hu=window)
    assert Imaging(time_points=("pre",), grid=grid).harmonisation == "none"
    if fits:
        assert Imaging(time_points=("pre",), grid=grid, harmonisation="landmarks")
    else:
        with pytest.raises(ValidationError, match="window_hu"):
            Imaging(time_points=("pre",), grid=grid, harmonisation="landmarks")
