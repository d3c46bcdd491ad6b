"""The report says in plain words everything that leaves: every key of every message has its words there."""

import pytest

from fedescc.common import wire
from fedescc.common.schema import ALLOWED
from fedescc.server.federate import LEAVES

_OF_A_SPLIT = {
    "n": "how many they are",
    "n_pos": "by outcome",
    **dict.fromkeys(("tp", "fp", "tn", "fn"), "counts of right and wrong calls"),
    **dict.fromkeys(("brier_sum", "log_loss_sum"), "losses"),
    **dict.fromkeys(("negatives", "positives"), "class histograms"),
}
_BY_OUTCOME = {"n": "patients by outcome", "n_pos": "patients by outcome"}
# Message type -> key -> the words for it.
WORDS = {
    wire.STATISTICS: {
        "n_train": "training patients",
        **dict.fromkeys(("flow_included", "flow_excluded"), "patients included and excluded"),
        "flow_by_rule": "by rule",
        "covariate_counts": "count, sum and sum of squares of each numeric covariate and image feature",
        "covariate_totals": "sum and sum of squares of each numeric covariate",
        "covariate_squares": "sum of squares of each numeric covariate",
        "level_counts": "a lower bound of the patients of each category",
        "quantile_counts": "a histogram without small cells",
        "landmark_counts": "scans and sums of their landmarks",
        "landmark_totals": "sums of their landmarks",
    },
    wire.COUNTS: {
        "included": "patients, and those with the outcome, in all",
        "positives": "those with the outcome, in all",
        **dict.fromkeys(("split_patients", "split_positives"), "in each split"),
        **dict.fromkeys(("level_patients", "level_positives"), "in each level of the subgroups"),
        "missing": "patients without a value of each covariate",
    },
    wire.SCREENING: {
        "n": "training patients",
        "counts": "count, sum and sum of squares of each feature",
        **dict.fromkeys(("totals", "squares"), "sum and sum of squares of each feature"),
        "products": "sums of products",
    },
    wire.LOGISTIC: {**_BY_OUTCOME, "loss": "losses", "gradient": "gradients", "hessian": "Hessians"},
    wire.TRAIN: {
        "n": "training patients",
        "updates": "number of updates",
        "loss": "loss",
        **{f"validation_{key}": words for key, words in _OF_A_SPLIT.items()},
    },
    wire.PRETRAIN: {"n": "training patients", "loss": "loss"},
    wire.TRAINING_SCORES: {"counts": "fine histogram of training scores"},
    wire.VALIDATION: _OF_A_SPLIT,
    wire.TEST: {
        **dict.fromkeys(_OF_A_SPLIT, "the same of the test patients"),
        "auc": "own AUC",
        **dict.fromkeys(("auc_low", "auc_high"), "with interval"),
        **dict.fromkeys(("calibration_intercept", "calibration_slope"), "calibration"),
        "openings_before": "how often other runs have tested these patients before",
    },
    wire.RECALIBRATION: {
        **_BY_OUTCOME,
        **{f"{model}_{key}": words for model in ("large", "slope")
           for key, words in (("loss", "losses"), ("gradient", "gradients"), ("hessian", "Hessians"))},
    },
    wire.SUBGROUPS: {
        **{key: words for key, words in _OF_A_SPLIT.items() if key != "log_loss_sum"},
        "brier_sum": "Brier sums",
        "shown": "which levels are shown",
    },
    wire.COMPARISON: {
        "n": "how many test patients",
        "n_pos": "by outcome",
        **dict.fromkeys(("sums", "products"), "sums and products of their placements"),
        "differences": "own differences of AUC",
        "standard_errors": "their standard errors",
    },
    wire.EXPLANATION: {
        "n": "how many they are",
        "counts": "have each player",
        "total": "sums of Shapley values",
        **dict.fromkeys(("absolute", "squares"), "their sizes and squares by player"),
        **dict.fromkeys(("gate_counts", "fixed_absolute", "local_absolute"), "of some patients, under two"),
        **dict.fromkeys(("rank_total", "rank_squares"), "sums of the players' ranks"),
        **dict.fromkeys(("additivity_error", "repeat_error"), "size of the largest errors"),
        "random_correlation": "rank correlation with shuffled models",
        "deletion_total": "area of the deletion curves",
    },
    wire.REFERENCE: {"n": "training patients", "totals": "the sum of each column"},
    wire.ACQUISITION: {
        "n": "training patients",
        "vendor_counts": "scanner vendors",
        "kernel_counts": "kernels",
        "phase_counts": "contrast phases",
        **dict.fromkeys(("number_counts", "number_totals", "number_squares"), "count, sum and sum of squares of blood"),
    },
    wire.SHORTCUT: {
        "n": "training patients",
        **dict.fromkeys(("totals", "squares"), "sums, sums of squares"),
        "products": "sums of products",
        "vendor_counts": "by vendor with small cells merged",
        **dict.fromkeys(("vendor_totals", "vendor_products"), "also by scanner vendor"),
        "right": "a linear rule assigns to their site",
        "vendor_right": "to their vendor",
        **dict.fromkeys(("right_hidden", "vendor_hidden"), "or that this is few or leaves few"),
        "minimum": "the site's minimum count",
    },
}  # fmt: skip


@pytest.mark.parametrize("message_type", ALLOWED)
def test_every_key_that_may_leave_has_its_words(message_type: str) -> None:
    words = WORDS[message_type]
    assert set(words) == set(ALLOWED[message_type])
    missing = {key: said for key, said in words.items() if said not in LEAVES[message_type]}
    assert missing == {}


def test_every_message_has_its_words_and_no_other() -> None:
    assert set(LEAVES) == set(ALLOWED) == set(WORDS)
