"""The sites of a simulation: intake, their identity, and each opened as its own process would."""

import dataclasses
import pickle

import numpy as np
import pytest
from toy_federation import STUDY

from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.simulations.hospitals import open_hospitals

TOY = parse_model(STUDY, Study, "toy")
SITE = "site: {name}\nclinical: {{path: clinical.csv}}\npolicy: {{min_class_count: 3}}\n"


def write(folder, name, patients):
    (folder / name).mkdir(parents=True)
    rows = [f"P{i},{40 + i % 30},{i},male,{i % 2}" for i in range(patients)]
    (folder / name / "clinical.csv").write_text("\n".join(["patient_id,age,marker,sex,outcome", *rows]) + "\n")
    (folder / name / "site.yaml").write_text(SITE.format(name=name))


@pytest.fixture
def folder(tmp_path):
    for name, patients in (("north", 80), ("south", 60)):
        write(tmp_path / "sites", name, patients)
    return tmp_path / "sites"


@pytest.fixture
def hospitals(folder, tmp_path):
    write(folder, "west", 0)
    return open_hospitals(folder, TOY, seed=3, work=tmp_path / "work")


def test_a_site_that_cannot_take_part_is_named_and_the_others_opened(hospitals):
    assert sorted(hospitals.cohorts) == ["north", "south"]
    assert list(hospitals.failed) == ["west"]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_sites_are_opened_alike_for_every_engine_and_travel_to_another_process(hospitals, engine):
    sources = hospitals.sources(engine)
    assert list(sources) == ["north", "south", "west"]
    sources = pickle.loads(pickle.dumps(sources)) if engine == "ray" else sources
    site = sources["north"]()
    assert site.name == "north"
    assert site.cohort.keys == hospitals.cohorts["north"].keys
    assert site.folder == hospitals.files["north"].work
    with pytest.raises(Refusal) as refused:
        sources["west"]()
    assert refused.value.code == hospitals.failed["west"].code


def test_the_identity_is_that_of_patients_and_policies(hospitals, folder, tmp_path):
    again = open_hospitals(folder, TOY, seed=3, work=tmp_path / "elsewhere")
    assert again.identity == hospitals.identity
    assert open_hospitals(folder, TOY, seed=4, work=tmp_path / "other").identity != hospitals.identity
    cohort = hospitals.cohorts["north"]
    for change in ({"labels": 1 - cohort.labels}, {"order": np.arange(80, dtype=np.int32)}, {"flow": {"included": 1}}):
        other = {**hospitals.cohorts, "north": dataclasses.replace(cohort, **change)}
        assert dataclasses.replace(hospitals, cohorts=other).identity != hospitals.identity
    age = {"age": cohort.numeric["age"] + np.eye(1, 80)[0]}
    other = {**hospitals.cohorts, "north": dataclasses.replace(cohort, numeric=cohort.numeric | age)}
    assert dataclasses.replace(hospitals, cohorts=other).identity != hospitals.identity
    assert dataclasses.replace(hospitals, failed={}).identity != hospitals.identity


def test_images_count_for_the_identity(hospitals):
    images = np.zeros((80, 1, 2, 2, 2), np.float16)
    found = []
    for changed in (0.0, 0.5):
        images[79, 0, 1, 1, 1] = changed
        cohort = dataclasses.replace(hospitals.cohorts["north"], images=images.copy())
        found.append(dataclasses.replace(hospitals, cohorts={**hospitals.cohorts, "north": cohort}).identity)
    assert found[0] != found[1]


def test_views_divide_as_the_fold_says_and_leave_out_who_refuses(hospitals):
    task = {"fold": KFold(index=0, of=5).model_dump(mode="json")}
    views = hospitals.views(task)
    assert list(views) == ["north", "south"]
    assert 0 < len(views["north"].rows("test")) < 80
    assert list(hospitals.views({"fold": KFold(index=0, of=20).model_dump(mode="json")})) == []


def test_no_site_or_two_of_one_name_are_refused(folder, tmp_path):
    with pytest.raises(Refusal, match="no-sites"):
        open_hospitals(tmp_path / "absent", TOY, 0, None)
    (folder / "north2").mkdir()
    for name in ("clinical.csv", "site.yaml"):
        (folder / "north2" / name).write_text((folder / "north" / name).read_text())
    with pytest.raises(Refusal, match="site-name-conflict"):
        open_hospitals(folder, TOY, 0, tmp_path / "work")
