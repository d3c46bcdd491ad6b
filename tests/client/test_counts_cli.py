"""fedescc-client counts: what the file holds is what the message would, shown for review first."""

import json
import re

import pytest
from table_sites import write_site
from toy_federation import STUDY

from fedescc.client.answers.dispatch import answer
from fedescc.client.cli import main
from fedescc.client.intake.intake import load_cohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import read_site
from fedescc.common import wire
from fedescc.common.counts import read_counts
from fedescc.common.study import read_study
from fedescc.common.wire import Request


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*words) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fedescc-client", "counts", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err

    return command


@pytest.fixture
def hospital(tmp_path):
    plan = "analysis: {subgroups: {sex: {variable: sex}}}\ndisclosure:"
    (tmp_path / "study.yaml").write_text(STUDY.replace("disclosure:", plan), encoding="utf-8")
    write_site(tmp_path, "site-a", 90)
    return ["--site", tmp_path / "site-a" / "site.yaml", "--study", tmp_path / "study.yaml"]


def test_the_file_holds_exactly_what_the_message_would(run, hospital, tmp_path):
    code, out, _ = run(*hospital, "--out", tmp_path / "new" / "counts.json")
    assert code == 0
    site, study = read_site(hospital[1]), read_study(str(hospital[3]))
    local = LocalSite("site-a", study, site.settings.policy, load_cohort(site, study))
    reply = answer(local, wire.COUNTS, Request(study.sha256, {"run": "r1"}))
    written = json.loads((tmp_path / "new" / "counts.json").read_text(encoding="utf-8"))
    assert written["sums"] == reply.sums
    assert written["reasons"] == reply.reasons
    name, found = read_counts(tmp_path / "new" / "counts.json", study)
    assert name == "site-a"
    assert found.whole.patients == 90
    assert re.search(rf"included +│ 90 +│ {found.whole.positives}\b", out)


def test_everything_in_the_file_is_shown_for_review_by_name(run, hospital):
    _, out, _ = run(*hospital)
    for label in ("included", "train", "validation", "test", "train, sex: female", "train, sex: missing", "marker"):
        assert re.search(rf"│ {label} +│", out)
    assert "P1" not in out


def test_json_is_the_files_content(run, hospital, tmp_path):
    code, out, err = run(*hospital, "--json", "--out", tmp_path / "counts.json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "counts.json").read_text(encoding="utf-8"))


def test_bad_input_is_refused_in_one_line(run, hospital, tmp_path):
    (tmp_path / "file").write_text("")
    for words in (
        [*hospital, "--out", tmp_path / "file" / "counts.json"],
        ["--site", tmp_path / "absent.yaml", *hospital[2:]],
        [*hospital[:2], "--study", "no-such-study"],
    ):
        code, _, err = run(*words)
        assert code == 1
        assert re.fullmatch(r"refused: [^\n]+ \[[a-z-]+\]; [^\n]+\n", err)
