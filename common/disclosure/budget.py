"""How many different questions of one kind a site answers: in one run, and in the whole study.

Every answer is governed by itself, but thousands of slightly different ones can be combined. So a site counts them for
good (`fedescc.client.queries`). The budgets hold the longest run that the settings allow, twenty folds of two hundred
rounds with every comparator, and some ten such runs, or a hundred ordinary ones. A question asked again word for word
costs nothing: it gets the same answer.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Budget(NamedTuple):
    """Different questions of one kind that are answered in one run, and in all runs of a study."""

    run: int
    study: int


OF_OTHERS = "other"
# By message type, spelt out: the site file is read where Flower, which `fedescc.common.wire` loads, is not needed.
# Statistics: at most 4 a fold. Screening: 4. Logistic: about 50 a path over penalties, 3 paths, a fusion, some begun
# anew when a site is lost. Scores and validation: one a model, and one a penalty. Test: 16 looks a fold. Recalibration:
# about 10 steps a model. Training: a round each. Subgroups and comparison: one a fold, begun anew when a site is lost.
# Explanation and its reference: a model each, of a linear one also its columns. Shortcuts: 3 a model, in no k folds.
BUDGETS: dict[str, Budget] = {
    "query.statistics": Budget(100, 1_000),
    "query.counts": Budget(100, 1_000),
    "query.acquisition": Budget(100, 1_000),
    "query.screening": Budget(100, 1_000),
    "query.logistic": Budget(8_000, 40_000),
    "train": Budget(4_000, 40_000),
    "train.pretraining": Budget(4_000, 40_000),
    "evaluate.training_scores": Budget(400, 4_000),
    "evaluate.validation": Budget(1_200, 8_000),
    "evaluate.test": Budget(400, 2_000),
    "evaluate.recalibration": Budget(4_000, 20_000),
    "evaluate.subgroups": Budget(40, 400),
    "evaluate.comparison": Budget(40, 400),
    "query.reference": Budget(400, 2_000),
    "evaluate.explanation": Budget(400, 2_000),
    "evaluate.shortcut": Budget(400, 2_000),
    OF_OTHERS: Budget(2_000, 10_000),
}


def budget_of(message_type: str, own: Mapping[str, Budget]) -> Budget:
    """The budget of a kind of message: the site's own, else the default.

    Args:
        message_type: the kind.
        own: of the site's policy, by kind; ``other`` stands for every kind that it does not name.

    """
    default = BUDGETS.get(message_type, BUDGETS[OF_OTHERS])
    return own.get(message_type, own.get(OF_OTHERS, default))


def spent(in_run: int, in_study: int, budget: Budget) -> bool:
    """Whether one more question, after so many, would be too many."""
    return in_run >= budget.run or in_study >= budget.study
