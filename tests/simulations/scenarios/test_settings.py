"""What a cell's result depends on, and the settings of every strategy."""

from dataclasses import replace

import pytest

from fedescc.common.errors import Refusal
from fedescc.common.strategy import STRATEGIES
from fedescc.common.study import read_study
from fedescc.simulations.scenarios.chosen import CHOSEN, cell_federation
from fedescc.simulations.scenarios.settings import Cell, check_sweep, swept_study


def test_every_strategy_has_settings_and_a_reason():
    assert tuple(CHOSEN) == STRATEGIES
    for name, chosen in CHOSEN.items():
        assert chosen.why
        assert cell_federation(name, 4, 8, 0).strategy.name == name


def test_scaffold_gets_plain_sgd_and_every_other_strategy_the_same_training():
    training = {name: cell_federation(name, 4, 8, 0).training for name in STRATEGIES}
    plain = training.pop("scaffold")
    assert (plain.optimizer, plain.momentum, plain.weight_decay) == ("sgd", 0.0, 0.0)
    assert all(other == training["fedavg"] for other in training.values())


@pytest.mark.parametrize(("sites", "faulty"), [(2, 0), (3, 0), (4, 0), (5, 1), (26, 1)])
def test_krum_assumes_no_more_faulty_sites_than_it_can_bear(sites, faulty):
    for name in ("krum", "multi_krum"):
        assert cell_federation(name, sites, 8, 0).strategy.byzantine == faulty
    assert faulty == 0 or sites >= 2 * faulty + 3


def test_a_fingerprint_changes_with_everything_that_decides_a_result(make_sweep):
    sweep = make_sweep()
    cell = Cell(sweep, "fedavg", "none", 0)
    same = Cell(replace(sweep, workers=9, strategies=("krum",), seeds=(0, 5)), "fedavg", "none", 0)
    assert same.fingerprint == cell.fingerprint
    others = [
        Cell(sweep, "fedprox", "none", 0),
        Cell(sweep, "fedavg", "label_shift", 0),
        Cell(sweep, "fedavg", "none", 1),
        *(Cell(replace(sweep, **{key: 7}), "fedavg", "none", 0) for key in ("sites", "patients", "rounds")),
        Cell(replace(sweep, test_patients=26), "fedavg", "none", 0),
        Cell(replace(sweep, study=swept_study(sweep.study, 12)), "fedavg", "none", 0),
    ]
    prints = {one.fingerprint for one in [cell, *others]}
    assert len(prints) == 1 + len(others)


def test_a_coarser_grid_still_shows_the_same_tissue():
    study = read_study("escc-pcr")
    before, after = study.imaging.grid, swept_study(study, 32).imaging.grid
    assert after.size_zyx == (32, 32, 32)
    for axis in range(3):
        assert after.size_zyx[axis] * after.spacing_zyx_mm[axis] == pytest.approx(
            before.size_zyx[axis] * before.spacing_zyx_mm[axis]
        )
    assert swept_study(study, 256).imaging == study.imaging
    assert swept_study(study, 32).disclosure.min_class_count == 1
    assert study.disclosure.min_class_count == 5


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"strategies": ("fedavg", "fedsgd")}, "unknown-strategy"),
        ({"heterogeneity": ("weather",)}, "unknown-heterogeneity"),
        ({"strategies": ()}, "nothing-to-compare"),
        ({"seeds": ()}, "nothing-to-compare"),
        ({"test_patients": 1}, "cohort-size"),
        ({"sites": 27}, "cohort-size"),
        ({"study": read_study("heart-disease")}, "study-not-simulated"),
    ],
)
def test_a_sweep_that_cannot_run_is_refused_before_anything_is_rendered(changes, code, make_sweep, tmp_path):
    with pytest.raises(Refusal, match=code):
        check_sweep(make_sweep(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_a_study_of_one_ct_cannot_miss_the_second(make_sweep):
    sweep = make_sweep()
    imaging = sweep.study.imaging.model_copy(update={"time_points": ("pre",)})
    alone = sweep.study.model_copy(update={"imaging": imaging})
    with pytest.raises(Refusal, match="no-second-ct"):
        check_sweep(replace(sweep, study=alone))
    check_sweep(replace(sweep, study=alone, heterogeneity=("none",)))
