"""fedescc-server plan: tables, JSON, a page, and one line for every bad input."""

import json
import re

import pytest
from site_counts import document
from toy_federation import STUDY

from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.cli import main

LEVELS = {("sex", "female"): (60, 25), ("sex", "male"): (60, 15), ("sex", "missing"): (0, 0)}
SPLITS = [(120, 40), (30, 10), (50, 17)]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line; returns (exit code, stdout, stderr)."""

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fedescc-server", "plan", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        return int(stopped.value.code or 0), out.out, out.err

    return call


@pytest.fixture
def files(tmp_path):
    """A study and the counts of three sites: paths."""
    text = STUDY.replace("disclosure:", "analysis: {subgroups: {sex: {variable: sex}}}\ndisclosure:")
    study = parse_model(text, Study, "toy")
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    for name in ("a", "b", "c"):
        content = document(study, f"site-{name}", SPLITS, LEVELS)
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return [tmp_path / name for name in ("study.yaml", "a.json", "b.json", "c.json")]


def test_every_table_is_printed_and_says_that_there_is_no_privacy(run, files):
    code, out, err = run(*files)
    assert (code, err) == (0, "")
    for title in ("sites", "95 % intervals", "planned threshold", "Riley's minimum", "subgroups"):
        assert title in out
    assert re.search(r"site-b +│ 40 / 120 +│ 10 / 30 +│ 17 / 50 +│ 67 / 200 +│ own results", out)
    assert "no differential privacy" in out
    assert "epsilon of training" not in out


def test_json_is_the_plan_and_nothing_else(run, files):
    code, out, err = run(*files, "--json", "--auc", "0.8", "--mode", "loso")
    plan = json.loads(out)
    assert (code, err) == (0, "")
    assert plan["assumed"]["auc"] == 0.8
    assert plan["precision"]["n"] == 600
    assert [one["low"] < one["high"] for one in plan["precision"]["at"][3]["prediction"]] == [True] * 5


def test_epsilon_is_told_for_a_noise_multiplier(run, files):
    code, out, _ = run(*files, "--noise-multiplier", "1.5", "--delta", "1e-5")
    assert code == 0
    assert re.search(r"site-a +│ 0\.067 +│ 360 +│ \d\.\d\d +│ \d\.\d\d", out)
    assert "would be charged beside it" in out


def test_the_settings_of_a_federation_file_decide_the_steps(run, files, tmp_path):
    (tmp_path / "federation.yaml").write_text("rounds: 3\ntraining: {local_updates: 5}\n", encoding="utf-8")
    _, out, _ = run(*files, "--federation", tmp_path / "federation.yaml", "--noise-multiplier", "1.5", "--json")
    assert json.loads(out)["privacy"]["sites"]["site-a"]["steps"] == 15


def test_the_page_is_written_and_its_path_printed(run, files, tmp_path):
    code, out, _ = run(*files, "--out", tmp_path / "page")
    assert code == 0
    assert out.strip().splitlines()[-1] == str(tmp_path / "page" / "plan.html")
    assert (tmp_path / "page" / "plan.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    _, out, _ = run(*files, "--out", tmp_path / "page", "--json")
    json.loads(out)


BAD = {
    "no such file": (["absent.json"], "unreadable-counts"),
    "one site twice": (["a.json", "a.json"], "repeated-site"),
    "AUC of chance": (["a.json", "--auc", "0.5"], "bad-assumption"),
    "AUC that is none": (["a.json", "--auc", "nan"], "bad-assumption"),
    "noise of nothing": (["a.json", "--noise-multiplier", "0"], "bad-budget"),
    "delta of one": (["a.json", "--noise-multiplier", "1", "--delta", "1"], "bad-budget"),
    "unknown mode": (["a.json", "--mode", "bootstrap"], "unknown-mode"),
    "one fold": (["a.json", "--folds", "1"], "wrong-folds"),
    "no federation": (["a.json", "--federation", "absent.yaml"], "unreadable-settings"),
}


@pytest.mark.parametrize(("words", "code"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line(run, files, monkeypatch, words, code):
    monkeypatch.chdir(files[0].parent)
    status, out, err = run(files[0], *words)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"refused: [^\n]+ \[{code}\]; [^\n]+\n", err)


def test_counts_of_another_study_are_refused(run, files):
    status, _, err = run("heart-disease", files[1])
    assert status == 1
    assert "[study-mismatch]" in err


def test_without_counts_it_is_misuse(run, files):
    assert run(files[0])[0] == 2
