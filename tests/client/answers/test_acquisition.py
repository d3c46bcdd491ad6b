"""What a site tells of its scans: of training patients, blind to the outcome, never of few."""

import dataclasses

import numpy as np
import pytest
from scan_sites import scan_cohort, scan_site, scan_study
from scanner_sites import RUN, scanner_cohort, task_of

from fedescc.client.answers.dispatch import answer
from fedescc.common import wire
from fedescc.common.acquisition import NUMBERS, VENDORS, number_columns
from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold, Loso
from fedescc.common.schema import check_reply
from fedescc.common.tabular.moments import mean_and_sd
from fedescc.common.wire import Request

POINTS = ("pre", "post")


def ask(cohort, minimum=5, **task):
    site = scan_site("a", scan_study(), cohort, minimum)
    reply = answer(site, wire.ACQUISITION, Request(site.study.sha256, task_of() | task))
    check_reply(wire.ACQUISITION, reply)
    return reply.sums


def test_counts_and_moments_are_those_of_the_training_patients():
    cohort = scanner_cohort(0, 60, vendor=["ge"] * 20 + ["canon"] * 40)
    rows, sums = cohort.rows("train"), ask(cohort)
    vendors = np.bincount(cohort.acquisition["vendor"][rows, 1], minlength=len(VENDORS))
    assert sums["n"] == len(rows) == 30
    assert sums["vendor_counts"][-8:] == [*vendors.tolist(), 0, 0]
    table = np.array([sums[f"number_{key}"] for key in ("counts", "totals", "squares")])
    for place, (name, variable) in enumerate(number_columns(POINTS).items()):
        point, number = name.split(".")
        values = cohort.acquisition[number][rows, POINTS.index(point)]
        step = (variable.range[1] - variable.range[0]) / 2**20
        assert mean_and_sd(variable, table[:, place]) == pytest.approx((values.mean(), values.std()), abs=2 * step)


def test_the_outcome_and_the_other_patients_change_nothing():
    cohort = scanner_cohort(0, 60)
    facts = {name: table.copy() for name, table in cohort.acquisition.items()}
    others = cohort.split != "train"
    facts["vendor"][others], facts["noise_hu"][others] = 5, 99.0
    turned = dataclasses.replace(cohort, labels=(1 - cohort.labels).astype(np.int8), acquisition=facts)
    assert ask(turned) == ask(cohort)


def test_no_cell_that_leaves_is_small_and_no_sum_is_over_few_or_leaves_few():
    for few in range(1, 31):
        cohort = scanner_cohort(0, 60)
        facts = {name: table.copy() for name, table in cohort.acquisition.items()}
        odd = cohort.rows("train")[:few]
        facts["vendor"][odd, 0], facts["blood_hu"][odd, 0] = VENDORS.index("philips"), np.nan
        sums = ask(dataclasses.replace(cohort, acquisition=facts))
        told = [sums[key] for key in ("vendor_counts", "kernel_counts", "phase_counts", "number_counts")]
        assert all(cell == 0 or cell >= 5 for cells in told for cell in cells)
        blood = sums["number_counts"][0]
        assert blood == (30 - few if 5 <= few <= 25 else 0), few
        assert bool(sums["number_totals"][0]) == bool(blood)


def test_a_cohort_without_facts_is_unknown_throughout():
    sums = ask(scan_cohort(0, 60))
    assert sums["vendor_counts"] == [*[0] * 6, 30, 0] * 2
    assert sums["number_counts"] == [0] * 2 * len(NUMBERS)


def test_a_study_without_images_few_patients_and_k_folds_are_refused(toy):
    site = scan_site("a", toy.study, toy.cohorts["site-a"])
    with pytest.raises(Refusal, match="no-images"):
        answer(site, wire.ACQUISITION, Request(site.study.sha256, {"run": RUN}))
    with pytest.raises(Refusal, match="class-count-below-minimum"):
        ask(scanner_cohort(0, 6))
    with pytest.raises(Refusal, match="not-in-k-folds"):
        ask(scanner_cohort(0, 60), fold=KFold(index=0, of=2).model_dump())
    with pytest.raises(Refusal, match="held-out"):
        ask(scanner_cohort(0, 60), fold=Loso(held_out="a").model_dump())
