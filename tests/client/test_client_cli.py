"""``fedescc-client``: one line and exit code 1 for every bad input, 2 for misuse, JSON and nothing else on stdout."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedescc.client.cli import main
from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.disk.record import OverrideEntry, PatientRecord
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.worklist import Todo
from fedescc.client.tables import print_inspection, print_patients, print_worklist

STUDY = """
format: 1
name: tiny
title: Tiny
endpoint: {name: cure, text: cured, positive_when: {outcome: {one_of: [cured]}}}
eligibility:
  inclusion:
    - {code: adult, text: 18 or older, when: {age: {minimum: 18}}}
prediction_time: baseline
covariates:
  age: {type: numeric, unit: years, range: [0, 110], required: true, available_at: baseline}
recorded:
  outcome: {type: categorical, categories: [cured, ill], available_at: pathology}
model: {kind: linear}
"""
SITE = "site: a\nclinical: {path: clinical.csv, patient_id: id}\n"
TABLE = "id,age,outcome\nP-001,61,cured\nP-002,17,ill\nP-003,44,ill\nP-004,,ill\n"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedescc-client", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        else:
            code = 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "clinical.csv").write_text(TABLE)
    return tmp_path


def intake(run: Run, folder: Path, *more: str) -> tuple[int, str, str]:
    return run("intake", "--site", folder / "site.yaml", "--study", folder / "study.yaml", *more)


def test_intake_json(run: Run, folder: Path) -> None:
    code, out, _ = intake(run, folder, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["study"] == "tiny"
    assert re.fullmatch("[0-9a-f]{64}", document["study_sha256"])
    assert document["patients"] == 4
    assert document["flow"] == {"included": 2, "adult": 1, "adult:unknown": 1}
    assert sum(part["n"] for part in document["splits"].values()) == 2
    assert sum(part["n_pos"] for part in document["splits"].values()) == 1
    assert document["from_cache"] is False
    assert "P-0" not in out
    assert json.loads(intake(run, folder, "--json")[1])["from_cache"] is True


def test_intake_table_counts_reasons_and_names_nobody(run: Run, folder: Path) -> None:
    code, out, _ = intake(run, folder)
    assert code == 0
    assert "4 patients in the table" in out
    for pattern in (r"included\W+2\b", r"adult\W+1\b", r"adult:unknown\W+1\b"):
        assert re.search(pattern, out)
    assert "P-0" not in out
    assert "taken from the cache" in intake(run, folder)[1]


def test_list_names_every_patient_with_every_reason(run: Run, folder: Path) -> None:
    _, out, _ = intake(run, folder, "--list")
    assert re.search(r"P-001\W+included", out)
    assert re.search(r"P-002\W+excluded\W+adult", out)
    listed = json.loads(intake(run, folder, "--list", "--json")[1])["list"]
    assert listed[3] == {"patient_id": "P-004", "reasons": ["adult:unknown", "missing:age"]}
    assert listed[2] == {"patient_id": "P-003", "reasons": []}


@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        ("study.yaml", "title:", "titel:", "titel: unknown key"),
        ("study.yaml", "minimum: 18", "minimum: adult", "eligibility.inclusion.0.when.age.minimum"),
        ("study.yaml", "format: 1", "format: [", "is not valid YAML"),
        ("site.yaml", "clinical:", "clinic:", "clinic: unknown key"),
        ("site.yaml", "clinical.csv", "absent.csv", "cannot read the clinical table"),
        ("site.yaml", "id: id", "id: name", "no column 'name' (for the patient's identifier)"),
        ("clinical.csv", "age", "years", "no column 'age' (for age) [missing-column]; add it, or map it"),
        ("clinical.csv", "61", "sixty", "column 'age', line 2 (age) is not a number [unparsable-value]"),
        ("clinical.csv", "61", "nan", "column 'age', line 2 (age) is not a number [unparsable-value]"),
        ("clinical.csv", "P-002", "P-001", "lines 2 and 3"),
        ("clinical.csv", ",17,", ",", "line 3: 2 fields, 3 columns expected"),
        ("clinical.csv", TABLE, "", "holds no patients [empty-table]"),
        (
            "clinical.csv",
            TABLE,
            "id,age,outcome\nP-001,17,ill\n",
            "none of 1 patients is eligible (adult 1) [empty-site]",
        ),
    ],
)
def test_every_bad_input_is_one_line_and_exit_code_1(
    run: Run, folder: Path, file: str, old: str, new: str, part: str
) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    code, out, err = intake(run, folder, "--json")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("refused: ")
    assert part in err
    assert "P-0" not in err


def test_unknown_study_and_missing_site_file(run: Run, folder: Path) -> None:
    code, _, err = run("intake", "--site", folder / "site.yaml", "--study", "escc")
    assert (code, err.count("\n")) == (1, 1)
    assert "give a YAML file or one of: escc-pcr, heart-disease" in err
    code, _, err = run("intake", "--site", folder / "no.yaml", "--study", "heart-disease")
    assert (code, err.count("\n")) == (1, 1)
    assert "FileNotFoundError" in err


def test_an_imaging_study_needs_an_images_section(run: Run, folder: Path) -> None:
    header = "patient_id,age,sex,cT,cN,cycles,histology,neoadjuvant,other_malignancy,other_antitumour_therapy"
    dates = "first_dose_date,last_dose_date,surgery_date,ypT,ypN"
    (folder / "clinical.csv").write_text(f"{header},{dates}\nP" + "," * 14 + "\n")
    (folder / "site.yaml").write_text("site: a\nclinical: {path: clinical.csv}\n")
    code, _, err = run("intake", "--site", folder / "site.yaml")
    assert code == 1
    assert "study escc-pcr needs CTs [no-images]" in err


@pytest.mark.parametrize(
    "arguments",
    [("intake",), ("intake", "--site"), ("inspect",), ("guess",), ("intake", "--site", "s", "--format", "x")],
)
def test_misuse_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_help_and_version(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    commands = {"inspect", "intake", "readers", "receive", "worklist"}
    assert commands <= set(re.findall(r"\b[a-z]+\b", out))
    for command in commands - {"receive"}:
        code, out, _ = run(command, "--help")
        assert (code, "--json" in out) == (0, True)
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"fedescc \d+\.\d+\.\d+\n", out)


def test_worklist_says_what_is_left_to_do(run: Run, folder: Path) -> None:
    options = ("--site", folder / "site.yaml", "--study", folder / "study.yaml")
    code, out, _ = run("worklist", *options, "--out", folder / "todo.csv", "--json")
    assert code == 0
    found = [(todo["patient_id"], todo["task"], todo["code"]) for todo in json.loads(out)["todo"]]
    assert found == [("P-004", "complete_table", "adult:unknown"), ("P-004", "complete_table", "missing:age")]
    assert "P-004" in (folder / "todo.csv").read_text(encoding="utf-8-sig")
    code, out, _ = run("worklist", *options)
    assert (code, "complete_table" in out, "P-002" in out) == (0, True, False)
    (folder / "clinical.csv").write_text("id,age,outcome\nP-001,61,cured\n")
    assert "nothing is left to do" in run("worklist", *options)[1]
    code, _, err = run("worklist", *options, "--out", folder / "absent" / "todo.csv")
    assert (code, "[cannot-write]" in err) == (1, True)


def test_worklist_serves_a_site_of_which_nobody_is_eligible(run: Run, folder: Path) -> None:
    (folder / "clinical.csv").write_text("id,age,outcome\nP-001,61,\n")
    options = ("--site", folder / "site.yaml", "--study", folder / "study.yaml")
    assert run("intake", *options)[0] == 1
    code, out, _ = run("worklist", *options, "--json")
    assert (code, json.loads(out)["todo"][0]["code"]) == (0, "endpoint_unknown")


def plain(out: str) -> str:
    """What stands in a printed table's cells, the lines of a folded cell joined again: column by column."""
    rows = [re.split("[│┃]", line)[1:-1] for line in out.splitlines() if re.match("[│┃]", line)]
    return "\n".join("".join(cell.strip() for cell in column) for column in zip(*rows, strict=True))


def test_the_list_ends_with_who_is_in_who_is_out_and_why(run: Run, folder: Path) -> None:
    _, out, _ = intake(run, folder)
    assert out.index("endpoint positive") < out.index("4 patients in the table") < out.index("adult:unknown")
    assert out.strip().splitlines()[-2].startswith("│ adult:unknown")
    _, out, _ = intake(run, folder, "--list")
    assert out.index("4 patients in the table") < out.index("P-001")
    assert "P-004" in out[out.rindex("├") :], "the last line of the last table"


def test_with_nobody_eligible_the_list_says_who_is_out_and_why_before_the_refusal(run: Run, folder: Path) -> None:
    (folder / "clinical.csv").write_text("id,age,outcome\nP-001,61,\nP-002,17,ill\n")
    code, out, err = intake(run, folder, "--list")
    assert (code, err.count("[empty-site]"), err.count("\n")) == (1, 1, 1)
    assert re.search(r"P-001\W+excluded\W+endpoint_unknown", out)
    assert re.search(r"P-002\W+excluded\W+adult", out)
    for flags in ((), ("--json",), ("--json", "--list")):
        code, out, err = intake(run, folder, *flags)
        assert (code, out, err.count("\n")) == (1, "", 1)


RECORD = PatientRecord(
    notes=("pre:noisy", "pre:override:accept:noisy", "post:override_unused:accept:low_similarity"),
    overrides=(
        OverrideEntry("pre:override:accept:noisy", "Dr A", used=True),
        OverrideEntry("post:override:accept:low_similarity", "Dr B", used=False),
    ),
)


def test_the_list_shows_what_was_noted_and_who_decided(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = SiteCohort((), np.zeros(0, np.int8), {}, {}, np.zeros(0, "<U10"), None, None, {"poor_quality_ct": 1})
    codes = ("poor_quality_ct", "post:registration_little_overlap")
    print_patients(IntakeResult(nobody, {}, (), (("P-001", codes),), {"P-001": RECORD}, reused=False))
    shown = plain(capsys.readouterr().out)
    for text in (*codes, "pre:noisy", "pre:override:accept:noisybyDrA"):
        assert text in shown.replace(" ", "")
    assert "lowsimilaritybyDrB(noeffect)" in re.sub("[ _]", "", shown)
    assert "override_unused" not in shown, "the decision says it"


def test_the_printed_worklist_cuts_neither_codes_nor_uids(capsys: pytest.CaptureFixture[str]) -> None:
    uid = "1.2.840.113619.2.55.3.2831868886.1234567890.1234567890.1234"
    folder = "2019-0007/STUDY-2019-05-04-CHEST-WITH-CONTRAST/SERIES-0004"
    save = "2019-0007/pre.nii.gz"
    todo = Todo(
        "2019-0007", "pre", "correct_roi", "clinical_unknown_category:neoadjuvant_regimen", uid, folder, save, "hint"
    )
    print_worklist([todo])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\u2026" not in out
    shown = plain(out)
    for text in todo:
        assert text in shown


def test_inspect_shows_the_warnings_of_masks(capsys: pytest.CaptureFixture[str]) -> None:
    mask = {"roi": "GTV", "verdict": "accepted", "voxels": 8, "mean_hu": 40.0, "reasons": []}
    masks = [{**mask, "warnings": ["roi_skips_slices"]}, {**mask, "reasons": ["empty_roi"], "warnings": []}]
    print_inspection({"series": [], "masks": masks, "rejected_files": []})
    shown = plain(re.split(r" masks *\n", capsys.readouterr().out)[1])
    assert "(roi_skips_slices)empty_roi" in shown


def test_readers_of_a_study_without_cts_is_refused(run: Run, folder: Path) -> None:
    code, out, err = run("readers", "--site", folder / "site.yaml", "--study", folder / "study.yaml")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "[no-images]" in err


def test_inspect_json_and_table(run: Run, tmp_path: Path, ct_series: Callable[..., list[Path]]) -> None:
    ct_series(tmp_path / "ct" / "good", np.full((4, 5, 6), 1034, np.uint16))
    ct_series(tmp_path / "ct" / "bad", np.zeros((4, 5, 6), np.uint16), SeriesInstanceUID="9.9", RescaleSlope=None)
    (tmp_path / "ct" / "broken.dcm").write_bytes(b"")
    code, out, err = run("inspect", tmp_path / "ct", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "reading headers: 9/9\n")
    assert set(document) == {"series", "masks", "rejected_files"}
    verdicts = {one["series_uid"]: (one["verdict"], one["reasons"]) for one in document["series"]}
    assert verdicts == {"1.2.3.4": ("accepted", []), "9.9": ("refused", ["missing_rescale"])}
    assert document["rejected_files"] == [{"file": "broken.dcm", "reason": "empty_file"}]
    code, out, _ = run("inspect", tmp_path / "ct")
    assert code == 0
    assert "accepted" in out
    assert "refused" in out
    assert "broken.dcm" in out


def test_inspect_prints_names_that_are_no_text(folder: Path) -> None:
    export = folder / "export"
    export.mkdir()
    (export / os.fsdecode("张三.txt".encode("gbk"))).write_text("hello")
    for flags in (["--json"], []):
        done = subprocess.run(
            [sys.executable, "-c", "from fedescc.client.cli import main; main()", "inspect", str(export), *flags],
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        )
        assert (done.returncode, done.stderr) == (0, b"reading headers: 1/1\n")
        text = done.stdout.decode("utf-8")
        shown = json.loads(text)["rejected_files"][0]["file"] if flags else text
        assert r"\xd5\xc5\xc8\xfd.txt" in shown


def test_inspect_of_an_empty_or_absent_folder(run: Run, tmp_path: Path) -> None:
    for folder, reason in ((tmp_path, "empty-folder"), (tmp_path / "absent", "missing-folder")):
        code, out, err = run("inspect", folder)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert reason in err


def test_the_installed_command(folder: Path) -> None:
    """As a user runs it: no traceback, and nothing but the line on stderr."""
    (folder / "clinical.csv").write_text(TABLE.replace("61", "x"))
    command = [sys.executable, "-c", "from fedescc.client.cli import main; main()", "intake"]
    done = subprocess.run(
        [*command, "--site", "site.yaml", "--study", "study.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("refused: column 'age', line 2")
    assert done.stderr.count("\n") == 1
