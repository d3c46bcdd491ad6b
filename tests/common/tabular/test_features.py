"""The catalogue of image features: names a study can use, and bounds that hold."""

import math

import pytest

from fedescc.common.study import Model
from fedescc.common.tabular.features import NAMED_FEATURES, NAMED_MEASURES, RADIOMIC_FEATURES, RADIOMIC_MEASURES

EVERY = {**NAMED_FEATURES, **RADIOMIC_FEATURES}


def test_a_study_can_name_every_feature() -> None:
    assert Model(kind="paired_cnn", image_features=tuple(EVERY)).image_features == tuple(EVERY)


def test_no_name_is_used_twice() -> None:
    assert len(EVERY) == 3 * len(NAMED_MEASURES) + 2 * len(RADIOMIC_MEASURES)
    assert len(set(RADIOMIC_MEASURES)) == len(RADIOMIC_MEASURES)


def test_the_features_of_the_protocol_are_there() -> None:
    assert {"tumour_volume_change", "wall_thickness_max_change", "wall_thickness_mean_change"} <= set(NAMED_FEATURES)


@pytest.mark.parametrize("name", EVERY)
def test_only_what_the_first_scan_shows_is_available_at_baseline(name: str) -> None:
    assert EVERY[name].available_at == ("baseline" if name.endswith("_pre") else "second_ct")


@pytest.mark.parametrize("name", NAMED_MEASURES)
def test_no_change_of_values_in_range_is_out_of_range(name: str) -> None:
    one = NAMED_MEASURES[name]
    (low, high), (least, most) = one.range, one.change_range
    if one.change_unit == "log ratio":
        assert low == 0
        # 0.1 ml or cm2 is added to both, so that 0 has a logarithm.
        assert math.log((high + 0.1) / 0.1) <= most
        assert least == -most
    else:
        assert (least, most) == (low - high, high - low)


def test_radiomic_bounds_hold_any_measure_of_a_scan() -> None:
    """The largest is the energy: 256^3 voxels of 3000 HU."""
    low, high = EVERY["stat_energy_post"].range
    assert math.asinh(256**3 * 3000**2) < high / 1.5
    assert low == -high
