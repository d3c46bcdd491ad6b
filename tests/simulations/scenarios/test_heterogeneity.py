"""Every kind of difference changes what it says, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.simulations.patients.outcome import draw_outcome
from fedescc.simulations.patients.scanners import scanner
from fedescc.simulations.scenarios.heterogeneity import HETEROGENEITIES, hospitals


@pytest.mark.parametrize("kind", HETEROGENEITIES)
@pytest.mark.parametrize(("sites", "patients"), [(2, 5), (4, 40), (7, 13), (26, 60)])
def test_every_kind_has_as_many_patients_and_no_case_mix_beyond_its_own(kind, sites, patients):
    there = hospitals(kind, sites, patients)
    assert len(there) == sites
    assert sum(one.patients for one in there) == sites * patients
    assert min(one.patients for one in there) >= 5
    assert {one.protocol.stage_shift for one in there} == {0.0}


def test_without_heterogeneity_hospitals_are_equal():
    first, *others = hospitals("none", 4, 40)
    assert others == [first] * 3
    assert first.protocol.rate_shift == 0
    assert not first.baseline_only


def test_label_shift_moves_the_rates_and_leaves_scanner_and_size():
    there = hospitals("label_shift", 4, 40)
    assert [one.protocol.rate_shift for one in there] == pytest.approx([-1.6, -1.6 / 3, 1.6 / 3, 1.6])
    equal = hospitals("none", 4, 40)
    assert [replace(one, protocol=equal[0].protocol) for one in there] == equal


def test_label_shift_goes_from_one_in_seven_to_one_in_two():
    low, high = (one.protocol for one in hospitals("label_shift", 2, 40))
    chances = [[draw_outcome(0, 100, n, place).probability for n in range(1000)] for place in (low, high)]
    rates = np.mean(chances, axis=1)
    assert rates[0] == pytest.approx(1 / 7, abs=0.03)
    assert rates[1] == pytest.approx(1 / 2, abs=0.05)


def test_scanner_shift_takes_the_table_s_scanners_without_their_patients():
    there = hospitals("scanner_shift", 5, 40)
    assert len({one.protocol.model for one in there}) == 5
    assert len({one.protocol.aorta_hu for one in there}) == 5
    for site, one in enumerate(there):
        assert one.protocol == replace(scanner(site), stage_shift=0.0, rate_shift=0.0)


def test_size_imbalance_has_one_large_hospital_and_tiny_ones():
    assert [one.patients for one in hospitals("size_imbalance", 4, 40)] == [136, 8, 8, 8]
    assert [one.patients for one in hospitals("size_imbalance", 3, 6)] == [8, 5, 5]


def test_a_third_of_the_hospitals_lack_the_second_ct():
    assert [one.baseline_only for one in hospitals("missing_modality", 7, 40)] == [False] * 5 + [True] * 2
    assert sum(one.baseline_only for one in hospitals("missing_modality", 2, 40)) == 1


@pytest.mark.parametrize(
    ("kind", "sites", "patients", "code"),
    [("weather", 4, 40, "unknown-heterogeneity"), ("none", 1, 40, "cohort-size"), ("none", 4, 4, "cohort-size")],
)
def test_what_is_out_of_range_is_refused(kind, sites, patients, code):
    with pytest.raises(Refusal, match=code):
        hospitals(kind, sites, patients)
