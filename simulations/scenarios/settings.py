"""What a sweep compares, and under which settings each strategy runs."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.strategy import STRATEGIES
from fedescc.common.study import Study
from fedescc.common.wire import installed_version
from fedescc.simulations.patients.cohort import require_simulated
from fedescc.simulations.scenarios.chosen import cell_federation
from fedescc.simulations.scenarios.heterogeneity import hospitals

_FORMAT = 1  # of a cell's record; another one is computed again
_MOST_TEST_PATIENTS = 100_000


@dataclass(frozen=True)
class Sweep:
    """A comparison of strategies under kinds of heterogeneity.

    Attributes:
        study: with the minimum counts lifted and the grid of the sweep.
        strategies: names of `STRATEGIES`.
        heterogeneity: names of `HETEROGENEITIES`.
        sites: hospitals of every federation.
        patients: mean number of patients a hospital trains and validates with.
        test_patients: extra patients every model is tested on, equally many of every hospital.
        rounds: of every federation.
        seeds: of patients, initialisation and augmentation; one federation each.
        out: folder of cohorts, cells and reports.
        workers: processes; the results do not depend on it.

    """

    study: Study
    strategies: tuple[str, ...]
    heterogeneity: tuple[str, ...]
    sites: int
    patients: int
    test_patients: int
    rounds: int
    seeds: tuple[int, ...]
    out: Path
    workers: int = 1

    def cells(self) -> list["Cell"]:
        """Every federation to run, those on the same patients together."""
        return [
            Cell(self, strategy, kind, seed)
            for seed in self.seeds
            for kind in self.heterogeneity
            for strategy in self.strategies
        ]


@dataclass(frozen=True)
class Cell:
    """One federation of a sweep."""

    sweep: Sweep
    strategy: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        """Such as ``fedavg-label_shift-0``."""
        return f"{self.strategy}-{self.kind}-{self.seed}"

    @property
    def federation(self) -> Federation:
        """Its federation file."""
        return cell_federation(self.strategy, self.sweep.sites, self.sweep.rounds, self.seed)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides its result."""
        decisive = [_FORMAT, installed_version(), self.patients, self.federation.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def patients(self) -> str:
        """Everything that decides who its patients are."""
        sweep = self.sweep
        there = hospitals(self.kind, sweep.sites, sweep.patients)
        return repr((sweep.study.sha256, self.seed, sweep.test_patients, there))


def check_sweep(sweep: Sweep) -> None:
    """Refuse a sweep that cannot run, before anything is rendered.

    Raises:
        Refusal: a study that the phantom cannot simulate, unknown names, sizes out of range, nothing to compare.

    """
    require_simulated(sweep.study)
    for name in sweep.strategies:
        if name not in STRATEGIES:
            raise Refusal("unknown-strategy", f"no strategy {name!r}", f"choose among: {', '.join(STRATEGIES)}")
    for kind in sweep.heterogeneity:
        hospitals(kind, sweep.sites, sweep.patients)
    if not sweep.cells():
        raise Refusal("nothing-to-compare", "no strategy, heterogeneity or seed", "name at least one of each")
    if not sweep.sites <= sweep.test_patients <= _MOST_TEST_PATIENTS:
        what = f"{sweep.test_patients} test patients for {sweep.sites} sites"
        raise Refusal("cohort-size", what, f"use at least one a site and at most {_MOST_TEST_PATIENTS}")
    if "missing_modality" in sweep.heterogeneity and not _has_second_ct(sweep.study):
        raise Refusal("no-second-ct", "the study has no second CT to miss", "leave missing_modality out")


def swept_study(study: Study, voxels: int) -> Study:
    """A study as the sweep runs it: minimum counts lifted, since nobody is behind synthetic patients, and at most
    ``voxels`` along each axis of the model's grid, which still shows the same tissue.
    """
    lifted: dict[str, Any] = {"disclosure": study.disclosure.model_copy(update={"min_class_count": 1})}
    if study.imaging is None:
        return study.model_copy(update=lifted)
    grid = study.imaging.grid
    size = tuple(min(n, voxels) for n in grid.size_zyx)
    spacing = tuple(mm * n / m for mm, n, m in zip(grid.spacing_zyx_mm, grid.size_zyx, size, strict=True))
    coarse = grid.model_copy(update={"size_zyx": size, "spacing_zyx_mm": spacing})
    return study.model_copy(update=lifted | {"imaging": study.imaging.model_copy(update={"grid": coarse})})


def _has_second_ct(study: Study) -> bool:
    return study.imaging is not None and "post" in study.imaging.time_points and len(study.imaging.time_points) > 1
