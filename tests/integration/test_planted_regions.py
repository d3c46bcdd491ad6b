"""A network that learned from phantoms is explained by what was planted in them: the tumour, and what became of it."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fedescc.client.explanation.gates import MOST_PATIENTS
from fedescc.client.explanation.release import released_sums
from fedescc.client.explanation.survey import Subject, survey_players
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import predict_logits
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import train_round
from fedescc.common.federation import Training
from fedescc.common.network.model import build_model
from fedescc.common.study import read_study
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.common.wire import Reply
from fedescc.server.evaluation.explanation import rank_entries
from fedescc.server.evaluation.explanation_gates import gate_entries
from fedescc.server.evaluation.explanation_replies import explanation_share
from fedescc.simulations.patients.tensor_path import phantom_set

TRAINED, TESTED, ROUNDS = 70, 40, 12


@pytest.mark.slow
def test_the_planted_region_ranks_first_on_phantoms():
    study = read_study("escc-pcr")
    patients = [(0, index) for index in range(TRAINED + TESTED + 8)]
    cohort = phantom_set(10, patients, study, workers=2, advance=lambda: None).cohort
    rows = np.arange(len(cohort))
    encoding = Encoding.from_sums(
        study, column_sums(study, cohort.numeric, rows[:TRAINED], categorical=cohort.categorical)
    )
    train, test = (SiteTensors.from_cohort(cohort, encoding, part) for part in (rows[:TRAINED], rows[TRAINED:]))
    model = build_model(study, len(encoding.columns), seed=0)
    for number in range(ROUNDS):
        train_round(model, train, Training(), Turn(0, number + 1, ROUNDS, "site-a"))
    logits = predict_logits(model, test)
    subject = Subject(
        model, test, test.clinical.numpy().astype(float), logits, encoding,
        np.zeros(len(encoding.columns)), study, 5,
    )  # fmt: skip
    survey = survey_players(subject)
    sums, reasons = released_sums(survey, 5, 10.0)
    names = survey.released.players
    share = explanation_share(Reply("site-a", "s", sums, reasons=reasons), len(names))
    order = rank_entries(names, {"site-a": share})["by_sd"]["order"]
    assert order[0] == "post_tumour"
    phi = survey.released.phi[:, names.index("post_tumour")]
    assert roc_auc_score(test.labels.numpy(), phi) > 0.6
    gates = gate_entries(names, {"site-a": share})
    assert {name for name, gate in gates.items() if gate["passed"]} >= {
        "additivity_error", "repeat_error", "model_randomisation", "deletion_curve", "inside_roi_by_sd",
    }  # fmt: skip
    assert len(survey.rows) == MOST_PATIENTS
