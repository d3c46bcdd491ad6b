"""The generator's clinical side: what must hold for every synthetic patient, and how hard the task is."""

import math
from datetime import date, timedelta

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fedescc.common.errors import Refusal
from fedescc.common.protocol import CategoricalVariable, NumericVariable
from fedescc.common.study import read_study
from fedescc.simulations.patients.outcome import (
    CLINICAL_LATENTS,
    COEFFICIENTS,
    IMAGE_LATENTS,
    LATENTS,
    Outcome,
    draw_outcome,
    log_odds,
)
from fedescc.simulations.patients.scanners import patient_id, scanner, site_letter

STUDY = read_study("escc-pcr")


@pytest.fixture(scope="module")
def patients() -> list[Outcome]:
    return [draw_outcome(1, site, index) for site in range(5) for index in range(120)]


@pytest.fixture(scope="module")
def many() -> list[Outcome]:
    """3000 test patients of four sites: enough for an AUC within .01."""
    return [draw_outcome(2, 100 + site, index) for site in range(4) for index in range(750)]


def test_every_variable_of_the_study_is_generated(patients: list[Outcome]) -> None:
    assert all(set(patient.clinical) == set(STUDY.variables) for patient in patients)


def test_numbers_lie_in_the_studys_range(patients: list[Outcome]) -> None:
    for name, variable in STUDY.variables.items():
        if isinstance(variable, NumericVariable):
            values = [p.clinical[name] for p in patients if p.clinical[name] is not None]
            assert values
            assert all(isinstance(v, float) for v in values)
            assert variable.range[0] <= min(values) <= max(values) <= variable.range[1], name


def test_categories_are_the_studys(patients: list[Outcome]) -> None:
    for name, variable in STUDY.variables.items():
        if isinstance(variable, CategoricalVariable):
            values = {p.clinical[name] for p in patients} - {None}
            assert values <= set(variable.categories), name


def test_label_is_the_studys_endpoint(patients: list[Outcome]) -> None:
    for patient in patients:
        conditions = STUDY.endpoint.positive_when.items()
        positive = all(condition.holds(patient.clinical[name]) for name, condition in conditions)
        assert patient.label == positive


def test_some_nonresponders_have_a_clean_esophagus_but_positive_nodes(patients: list[Outcome]) -> None:
    nodal = [p for p in patients if p.clinical["ypT"] == "ypT0" and p.clinical["ypN"] != "ypN0"]
    assert nodal
    assert all(p.label == 0 for p in nodal)


def test_regression_grade_agrees_with_the_primary_tumour(patients: list[Outcome]) -> None:
    complete = {"AJCC": "0", "Mandard": "1", "Becker": "1", "Chirieac": "1", "JES": "3"}
    systems = set()
    for patient in patients:
        system = patient.clinical["trg_system"]
        systems.add(system)
        assert (patient.clinical["trg"] == complete[system]) == (patient.clinical["ypT"] == "ypT0")
    assert systems == set(complete)


def test_chronology(patients: list[Outcome]) -> None:
    for patient in patients:
        row, (before, after) = patient.clinical, patient.ct_dates
        assert before <= row["first_dose_date"] <= row["last_dose_date"] < after < row["surgery_date"]
        assert date(2019, 1, 1) <= row["surgery_date"] <= date(2025, 7, 31)
        assert row["surgery_date"] - row["last_dose_date"] == timedelta(days=row["interval_to_surgery"])
        assert (row["last_dose_date"] - row["first_dose_date"]).days == 21 * (row["cycles"] - 1)


@pytest.mark.parametrize(
    ("t", "n", "stage"),
    [("cT1", "cN1", "I"), ("cT2", "cN1", "II"), ("cT3", "cN0", "II"), ("cT3", "cN1", "III"),
     ("cT1", "cN2", "III"), ("cT4", "cN0", "IVA"), ("cT2", "cN3", "IVA")],
)  # fmt: skip
def test_stage_follows_ajcc_8(patients: list[Outcome], t: str, n: str, stage: str) -> None:
    found = {p.clinical["stage"] for p in patients if p.clinical["cT"] == t and p.clinical["cN"] == n}
    assert found == {stage}


def test_required_values_are_missing_only_where_that_makes_a_patient_ineligible(
    patients: list[Outcome],
) -> None:
    required = [name for name, variable in STUDY.variables.items() if variable.required]
    for patient in patients:
        lacking = [name for name in required if patient.clinical[name] is None]
        assert lacking == (["cN"] if patient.ineligible == "missing_cn" else [])


def test_optional_values_are_sometimes_missing_cps_most_often(patients: list[Outcome]) -> None:
    share = {n: np.mean([p.clinical[n] is None for p in patients]) for n in ("cps", "albumin", "ecog")}
    assert 0.02 < share["albumin"] < 0.12
    assert 0.02 < share["ecog"] < 0.12
    assert 0.10 < share["cps"] < 0.30


def test_every_site_has_ineligible_patients_of_several_kinds(patients: list[Outcome]) -> None:
    reasons = [p.ineligible for p in patients if p.ineligible]
    assert len(reasons) == 5 * 7
    assert set(reasons) == {
        "adenocarcinoma",
        "other_malignancy",
        "chemotherapy",
        "other_therapy",
        "missing_cn",
    }
    for patient in patients:
        row = patient.clinical
        excluded = (
            row["histology"] != "ESCC",
            row["other_malignancy"] == "yes",
            row["neoadjuvant"] != "chemoimmunotherapy",
            row["other_antitumour_therapy"] == "yes",
            row["cN"] is None,
        )
        assert any(excluded) == (patient.ineligible is not None)


def test_test_patients_are_all_eligible_and_never_the_training_ones(many: list[Outcome]) -> None:
    assert all(patient.ineligible is None for patient in many)
    trained = {tuple(draw_outcome(2, site, index).latents.values()) for site in range(4) for index in range(50)}
    assert not trained & {tuple(patient.latents.values()) for patient in many}
    assert scanner(103) == scanner(3)


def test_a_patient_is_a_function_of_seed_site_and_index() -> None:
    assert draw_outcome(7, 2, 9) == draw_outcome(7, 2, 9)
    others = [draw_outcome(*key).latents for key in ((8, 2, 9), (7, 3, 9), (7, 2, 10))]
    assert draw_outcome(7, 2, 9).latents not in others


def test_log_odds_by_hand() -> None:
    nothing = dict.fromkeys(LATENTS, 0.0)
    assert log_odds(nothing) == -1.78
    assert log_odds(nothing | {"shrinkage": 1.0}) == pytest.approx(-1.78 + COEFFICIENTS["shrinkage"])
    both = nothing | {"shrinkage": 1.0, "texture": -1.0}
    expected = -1.78 + COEFFICIENTS["shrinkage"] - COEFFICIENTS["texture"] + 0.40
    assert log_odds(both) == pytest.approx(expected)


def test_probability_is_the_logistic_of_the_log_odds_with_the_sites_shift() -> None:
    patient = draw_outcome(0, 2, 4)
    odds = log_odds(patient.latents) + scanner(2).rate_shift
    assert patient.probability == pytest.approx(1 / (1 + math.exp(-odds)))


def test_image_latents_are_standard_normal(many: list[Outcome]) -> None:
    for name in IMAGE_LATENTS:
        values = np.array([patient.latents[name] for patient in many])
        assert abs(values.mean()) < 0.07
        assert abs(values.std() - 1) < 0.05


def test_pcr_rate_and_bayes_auc(many: list[Outcome]) -> None:
    labels = np.array([patient.label for patient in many])
    probability = np.array([patient.probability for patient in many])
    assert 0.26 <= labels.mean() <= 0.31
    assert 0.90 <= roc_auc_score(labels, probability) <= 0.935
    assert abs(probability.mean() - labels.mean()) < 0.02


def test_clinical_causes_alone_are_weak(many: list[Outcome]) -> None:
    labels = [patient.label for patient in many]
    score = [sum(COEFFICIENTS[n] * p.latents[n] for n in CLINICAL_LATENTS) for p in many]
    assert 0.64 <= roc_auc_score(labels, score) <= 0.70


def test_names_of_sites_and_patients() -> None:
    assert patient_id(0, 7) == "SYN-a-0007"
    assert patient_id(101, 7) == "SYN-test-b-0007"
    assert site_letter(25) == "z"


@pytest.mark.parametrize("site", [-1, 26, 99, 126])
def test_unknown_site_is_refused(site: int) -> None:
    with pytest.raises(Refusal, match="no simulated site"):
        draw_outcome(0, site, 0)


def test_sites_beyond_the_fifth_differ_from_the_one_they_copy() -> None:
    assert scanner(5) != scanner(0)
    assert scanner(5).matrix == scanner(0).matrix
    assert scanner(5) == scanner(5)
