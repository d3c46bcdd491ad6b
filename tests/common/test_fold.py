"""Folds as requests name them."""

import pytest

from fedescc.common.errors import Refusal
from fedescc.common.fold import HELD_OUT, NOT_HELD_OUT, KFold, Loso, Temporal, excused, read_fold

LOSO = {"fold": {"mode": "loso", "held_out": "site-a"}}


@pytest.mark.parametrize("fold", [KFold(index=2, of=5), Loso(held_out="site-a"), Temporal()])
def test_a_fold_comes_back_from_the_wire_as_it_was_sent(fold):
    assert read_fold({"fold": fold.model_dump(mode="json")}) == fold


@pytest.mark.parametrize("task", [{}, {"fold": None}])
def test_no_fold_is_the_fixed_split(task):
    assert read_fold(task) is None


@pytest.mark.parametrize(
    "fold",
    [
        "kfold",
        [],
        {},
        {"mode": "bootstrap"},
        {"mode": "kfold", "index": 5, "of": 5},
        {"mode": "kfold", "index": -1, "of": 5},
        {"mode": "kfold", "index": 0, "of": 1},
        {"mode": "kfold", "index": 0, "of": 21},
        {"mode": "kfold", "index": 0, "of": 5, "keep": 1},
        {"mode": "kfold", "index": True, "of": 5},
        {"mode": "kfold", "index": 1.0, "of": 5},
        {"mode": "kfold", "index": "1", "of": 5},
        {"mode": "kfold", "index": 1, "of": 5.0},
        {"mode": "kfold", "index": 1, "of": "5"},
        {"mode": "kfold", "index": 10**400, "of": 5},
        {"mode": "kfold", "index": None, "of": 5},
        {"mode": ["kfold"], "index": 0, "of": 5},
        {"mode": "loso", "held_out": "site-a\n"},
        {"mode": "loso", "held_out": ["site-a"]},
        {"mode": "loso", "held_out": "../etc"},
        {"mode": "loso", "held_out": "A"},
        {"mode": "loso"},
        {"mode": "temporal", "until": "2024-01-01"},
    ],
)
def test_anything_else_is_refused(fold):
    with pytest.raises(Refusal, match="unknown-fold"):
        read_fold({"fold": fold})


def test_names_of_folds_differ_and_can_be_folders():
    names = [KFold(index=i, of=n).name for n in (2, 3) for i in range(n)]
    names += [Loso(held_out="site-a").name, Temporal().name]
    assert len(set(names)) == len(names)
    assert all(name == name.strip(".").replace("/", "") for name in names)
    assert KFold(index=0, of=5).name == "fold-1-of-5"


@pytest.mark.parametrize(
    ("code", "site", "task", "expected"),
    [
        (HELD_OUT, "site-a", LOSO, True),
        (NOT_HELD_OUT, "site-b", LOSO, True),
        (HELD_OUT, "site-b", LOSO, False),
        (NOT_HELD_OUT, "site-a", LOSO, False),
        ("site-error", "site-a", LOSO, False),
        (HELD_OUT, None, LOSO, False),
        (HELD_OUT, "site-a", {}, False),
        (HELD_OUT, "site-a", {"fold": {"mode": "kfold", "index": 0, "of": 2}}, False),
    ],
)
def test_a_site_is_excused_only_by_the_code_that_the_fold_gives_it(code, site, task, expected):
    assert excused(code, site, task) is expected
