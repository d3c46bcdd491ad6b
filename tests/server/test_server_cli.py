"""fedescc-server: exit codes, one-line refusals, and what each command prints."""

import json
import re
from importlib.metadata import version

import pytest
from results_factory import sample_results

from fedescc.common.study import read_study, shipped_studies
from fedescc.server.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line; returns (exit code, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fedescc-server", *words])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stopped:
            main()
        out = capsys.readouterr()
        return int(stopped.value.code or 0), out.out, out.err

    return call


@pytest.fixture
def finished(tmp_path):
    """Folder of a finished run."""
    (tmp_path / "results.json").write_text(json.dumps(sample_results()), encoding="utf-8")
    return tmp_path


def test_report_writes_the_page_and_prints_its_path(run, finished):
    code, out, err = run("report", str(finished))
    assert (code, out.strip(), err) == (0, str(finished / "report.html"), "")
    assert (finished / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_report_replaces_an_older_page(run, finished):
    (finished / "report.html").write_text("old", encoding="utf-8")
    run("report", str(finished))
    assert (finished / "report.html").read_text(encoding="utf-8") != "old"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"study": "x"}', '{"study": NaN}'])
def test_report_refuses_what_is_no_results_document_in_one_line(run, tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
    code, out, err = run("report", str(tmp_path))
    assert (code, out) == (1, "")
    assert re.fullmatch(r"refused: [^\n]+ \[no-results\]; [^\n]+\n", err)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", shipped_studies())
def test_study_shows_hash_and_every_variable_and_rule(run, name):
    expected = read_study(name)
    code, out, _ = run("study", name)
    assert code == 0
    assert re.search(rf"^sha256 +{expected.sha256}$", out, re.MULTILINE)
    rows = set(re.findall(r"^│ (\S+) +│", out, re.MULTILINE))
    assert set(expected.variables) <= rows
    for rule in expected.eligibility.inclusion + expected.eligibility.exclusion:
        assert f" {rule.code} " in out


def test_study_states_what_decides_a_rule_and_the_endpoint(run):
    _, out, _ = run("study", "escc-pcr")
    assert "ypT in {ypT0} and ypN in {ypN0}" in out
    assert "surgery_date >= 2019-01-01 and <= 2025-07-31" in out
    assert "built in: chronology" in out
    assert "48 x 48 x 48 voxels of 1.5 x 1.5 x 1.5 mm (z, y, x)" in out
    assert "0.6 training, 0.15 validation, 0.25 test" in out


def test_study_without_images_or_rules_says_so(run):
    _, out, _ = run("study", "heart-disease")
    assert re.search(r"^images +none$", out, re.MULTILINE)
    assert re.search(r"^registration +none$", out, re.MULTILINE)
    assert "eligibility" not in out
    assert "num >= 1" in out


def test_study_json_is_the_checked_study_and_nothing_else(run):
    code, out, err = run("study", "escc-pcr", "--json")
    document = json.loads(out)
    expected = read_study("escc-pcr")
    assert (code, err) == (0, "")
    assert document["study"] == expected.name
    assert document["study_sha256"] == expected.sha256
    assert type(expected).model_validate(document["content"]) == expected


def test_a_study_file_is_checked_under_its_own_hash(run, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(read_study("heart-disease").to_yaml().replace("heart-disease", "other-name"), encoding="utf-8")
    code, out, _ = run("study", str(path), "--json")
    assert code == 0
    assert json.loads(out)["study_sha256"] == read_study(path).sha256 != read_study("heart-disease").sha256


@pytest.mark.parametrize(
    ("text", "code"),
    [("name: x", "invalid-settings"), ("- 1", "invalid-yaml"), ("a: 1\na: 2", "invalid-yaml"), (None, "unreadable")],
)
def test_a_bad_study_file_is_refused_in_one_line(run, tmp_path, text, code):
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    status, out, err = run("study", str(path))
    assert (status, out) == (1, "")
    assert err.startswith("refused: ")
    assert f"[{code}" in err
    assert err.count("\n") == 1


def test_an_unknown_study_name_lists_the_shipped_ones(run):
    status, _, err = run("study", "no-such-study")
    assert status == 1
    assert all(name in err for name in shipped_studies())


@pytest.mark.parametrize("words", [("frobnicate",), ("report",), ("study",), ("report", "a", "b"), ("study", "--what")])
def test_misuse_exits_with_2(run, words):
    assert run(*words)[0] == 2


def test_version_and_help(run):
    assert run("--version")[:2] == (0, f"fedescc {version('fedescc')}\n")
    code, out, _ = run("--help")
    assert code == 0
    assert re.findall(r"^│ (report|study|plan) ", out, re.MULTILINE) == ["report", "study", "plan"]
