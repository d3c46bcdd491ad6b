"""Run modes and their folds, and whose run a folder holds."""

import json

import pytest

from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold, Loso, Temporal
from fedescc.common.study import read_study
from fedescc.server.modes import Plan, fold_name, folds_of, has_dates, read_mode
from fedescc.server.run_folder import claim, discard

SETTINGS = {"study": "s" * 64, "mode": "kfold", "folds": 5, "warm_start": None}


def nobody():
    raise AssertionError("sites are asked for their names only where folds are named by them")


def test_the_folds_of_every_mode():
    assert folds_of(Plan(), nobody) == [None]
    assert folds_of(Plan("temporal"), nobody) == [Temporal()]
    assert folds_of(Plan("kfold", 3), nobody) == [KFold(index=i, of=3) for i in range(3)]
    assert folds_of(Plan("loso"), lambda: ["b", "a"]) == [Loso(held_out="a"), Loso(held_out="b")]


def test_one_site_cannot_be_held_out_of_itself():
    with pytest.raises(Refusal, match="no-quorum"):
        folds_of(Plan("loso"), lambda: ["a"])


@pytest.mark.parametrize("folds", [0, 1, 21])
def test_too_few_or_too_many_folds(folds):
    with pytest.raises(Refusal, match="wrong-folds"):
        Plan("kfold", folds)


def test_an_unknown_mode_names_the_known_ones():
    assert read_mode("loso") == "loso"
    with pytest.raises(Refusal, match="split, kfold, loso, temporal"):
        read_mode("bootstrap")


def test_only_k_folds_and_sites_held_out_give_several_models():
    assert {mode: Plan(mode).several for mode in ("split", "kfold", "loso", "temporal")} == {
        "split": False,
        "kfold": True,
        "loso": True,
        "temporal": False,
    }
    assert fold_name(None) == "split"


def test_the_comparators_of_a_run_are_the_plans_unless_it_names_its_own():
    escc = read_study("escc-pcr")
    assert set(Plan().comparators_of(escc)) == {"clinical", "features_clinical", "fusion"}
    assert Plan(comparators=()).comparators_of(escc) == ()
    assert Plan(comparators=("radiomics_clinical", "clinical")).comparators_of(escc) == (
        "clinical",
        "radiomics_clinical",
    )
    assert Plan().comparators_of(read_study("heart-disease")) == ()


def test_a_study_has_dates_by_its_scans_or_by_its_table():
    assert has_dates(read_study("escc-pcr"))
    assert not has_dates(read_study("heart-disease"))


def test_the_same_run_is_gone_on_with_under_its_id(tmp_path):
    run = claim(tmp_path / "out", SETTINGS)
    assert claim(tmp_path / "out", dict(reversed(SETTINGS.items()))) == run
    assert len(run) == 16
    assert claim(tmp_path / "other", SETTINGS) != run


@pytest.mark.parametrize("key", list(SETTINGS))
def test_another_run_is_refused_and_what_differs_named(tmp_path, key):
    claim(tmp_path, SETTINGS)
    with pytest.raises(Refusal, match=rf"other-run.*--fresh|{key}.*other-run") as caught:
        claim(tmp_path, SETTINGS | {key: "else"})
    assert key in str(caught.value)


@pytest.mark.parametrize("left", ["results.json", "model.safetensors", "report.html", "folds"])
def test_results_of_an_unknown_run_are_not_mixed_with(tmp_path, left):
    (tmp_path / left).mkdir() if left == "folds" else (tmp_path / left).write_text("{}")
    with pytest.raises(Refusal, match="unknown run"):
        claim(tmp_path, SETTINGS)


def test_a_damaged_run_file_is_another_run(tmp_path):
    claim(tmp_path, SETTINGS)
    (tmp_path / "run.json").write_text(json.dumps({"run": "0" * 16, "settings": 3}))
    with pytest.raises(Refusal, match="other-run"):
        claim(tmp_path, SETTINGS)


def test_discarding_leaves_only_what_is_not_a_runs(tmp_path):
    first = claim(tmp_path, SETTINGS)
    (tmp_path / "folds" / "split").mkdir(parents=True)
    (tmp_path / "cohort").mkdir()
    for name in ("results.json", "model.safetensors", "report.html", "notes.txt"):
        (tmp_path / name).write_text("x")
    discard(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort", "notes.txt"]
    assert claim(tmp_path, SETTINGS) != first


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refusal, match="unwritable-folder"):
        claim(tmp_path / "file" / "out", SETTINGS)
