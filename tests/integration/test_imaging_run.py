"""From DICOM to the report, small: two hospitals, the paired encoder, results bit for bit in any order."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONS = ("--rounds", "2", "--sites", "2", "--patients", "22", "--test-patients", "8", "--seed", "5")


def run(out: Path, *more: str) -> dict:
    command = [str(Path(sys.executable).with_name("fedescc-simulate")), "run", "--out", str(out), *OPTIONS, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    out = tmp_path_factory.mktemp("imaging") / "out"
    return out, run(out)


@pytest.mark.slow
def test_every_part_of_the_chain_is_there(first):
    out, results = first
    assert [entry["sites"] for entry in results["rounds"]] == [["site-a", "site-b"]] * 2
    assert results["final"]["pooled"]["n"] > 0
    players = list(results["explanation"]["pooled"])
    assert players[:6] == ["pre_tumour", "pre_rim", "pre_rest", "post_tumour", "post_rim", "post_rest"]
    assert "clinical_stage" in players
    synthetic = results["synthetic_test"]
    assert synthetic["n"] == 8
    assert set(synthetic["auc"]["local_only"]) == {"site-a", "site-b"}
    assert synthetic["auc"]["ceiling_bayes"]["auc"] > 0.5
    assert {"mean_hu_post", "roi_volume_post"} <= set(synthetic["trivial_cues"])
    assert 15 < sum(flow["n_train"] for flow in results["flow"].values()) < 30
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_everything_published_is_that_of_the_pooled_patients(first):
    audit = first[1]["audit"]
    assert [figure["figure"] for figure in audit["figures"] if not figure["passed"]] == []
    assert audit["passed"]
    assert {"explanation, shap on single patients", "regression coefficients", "curves"} <= set(audit["groups"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_whoever_answers_first(first, tmp_path):
    out, results = first
    (tmp_path / "cohort").symlink_to(out / "cohort")
    again = run(tmp_path / "out", "--shuffle", "3", "--cohort", str(tmp_path / "cohort"))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    for key in ("final", "explanation", "synthetic_test", "comparators", "flow"):
        assert again[key] == results[key], key


@pytest.mark.slow
def test_nothing_of_a_patient_reaches_the_results(first):
    out, _ = first
    text = (out / "results.json").read_text() + (out / "report.html").read_text()
    assert "SYN-" in (out / "cohort" / "truth.csv").read_text()
    for folder in ("site-a", "site-b"):
        [document] = (out / "cohort" / folder / "work" / "cache").glob("*/cohort.json")
        keys = re.findall(r"[0-9a-f]{64}", document.read_text())
        assert keys
        assert not any(key in text for key in keys)
    assert "SYN-" not in text
