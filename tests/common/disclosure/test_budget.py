"""Budgets hold a long run, and stop the thousands of questions that an attack needs."""

import pytest

from fedescc.common import wire
from fedescc.common.disclosure.budget import BUDGETS, OF_OTHERS, Budget, budget_of, spent
from fedescc.common.fold import MAX_FOLDS
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.schema import ALLOWED

PENALTIES, COMPARATORS, ROUNDS = 9, 3, 200
LONGEST_RUN = {
    wire.STATISTICS: MAX_FOLDS * (1 + COMPARATORS),
    wire.SCREENING: MAX_FOLDS * 2 * (COMPARATORS - 1),
    wire.LOGISTIC: MAX_FOLDS * 2 * (COMPARATORS * 50 + 20),
    wire.TRAIN: MAX_FOLDS * ROUNDS,
    wire.PRETRAIN: MAX_FOLDS * ROUNDS,
    wire.TRAINING_SCORES: MAX_FOLDS * MAX_DECLARED,
    wire.VALIDATION: MAX_FOLDS * (COMPARATORS * PENALTIES + MAX_DECLARED),
    wire.TEST: MAX_FOLDS * MAX_DECLARED,
    wire.RECALIBRATION: MAX_FOLDS * 12 * MAX_DECLARED,
    wire.EXPLANATION: MAX_FOLDS * MAX_DECLARED,
    wire.REFERENCE: MAX_FOLDS * MAX_DECLARED,
    wire.SHORTCUT: MAX_FOLDS * 2 * 3,
}


@pytest.mark.parametrize("message_type", LONGEST_RUN)
def test_the_longest_run_fits_and_so_do_several(message_type: str) -> None:
    budget = budget_of(message_type, {})
    assert LONGEST_RUN[message_type] <= budget.run
    assert 5 * LONGEST_RUN[message_type] <= budget.study


@pytest.mark.parametrize(
    "message_type",
    [wire.STATISTICS, wire.SCREENING, wire.COUNTS, wire.TEST, wire.EXPLANATION, wire.REFERENCE, wire.SHORTCUT],
)
def test_exact_sums_are_told_hundreds_of_times_not_thousands(message_type: str) -> None:
    assert budget_of(message_type, {}).run < 1000
    assert budget_of(message_type, {}).study <= 2000


def test_every_kind_has_a_budget_and_no_budget_is_of_an_unknown_kind() -> None:
    assert set(BUDGETS) - {OF_OTHERS} <= set(ALLOWED)
    assert all(min(budget_of(message_type, {})) > 0 for message_type in ALLOWED)


def test_a_sites_own_budget_goes_before_the_default() -> None:
    own = {wire.TEST: Budget(1, 2), OF_OTHERS: Budget(3, 4)}
    assert budget_of(wire.TEST, own) == Budget(1, 2)
    assert budget_of(wire.TRAIN, own) == Budget(3, 4)
    assert budget_of(wire.TRAIN, {}) == BUDGETS[wire.TRAIN]


@pytest.mark.parametrize(("in_run", "in_study", "refused"), [(0, 0, False), (1, 4, False), (2, 2, True), (0, 5, True)])
def test_either_count_spends_the_budget(in_run: int, in_study: int, refused: bool) -> None:
    assert spent(in_run, in_study, Budget(2, 5)) is refused
