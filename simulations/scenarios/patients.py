"""The synthetic patients of a sweep: rendered once, kept on disk one by one, put together for each kind of difference.

Images depend on patient and scanner alone, so the kinds that change neither share them.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.workers import worker_pool
from fedescc.common.console import Advance
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.imaging import Imaging
from fedescc.common.study import Study
from fedescc.common.wire import installed_version
from fedescc.simulations.comparison.comparators import pool_cohorts
from fedescc.simulations.patients.outcome import draw_outcome
from fedescc.simulations.patients.phantom import phantom_case
from fedescc.simulations.patients.scanners import TEST_SITE, Scanner, site_letter
from fedescc.simulations.patients.tensor_path import phantom_cohort, phantom_tensors
from fedescc.simulations.scenarios.heterogeneity import Hospital, hospitals
from fedescc.simulations.scenarios.settings import Sweep

_BLOCK = 1_000_000  # patient numbers of one hospital
_TRAINING_SITE = 0  # of the generator: every hospital's patients come from one population

Tensors = tuple[NDArray[np.float16], NDArray[np.uint8]]


@dataclass(frozen=True)
class Patient:
    """One synthetic patient at one scanner."""

    seed: int
    site: int
    index: int
    protocol: Scanner

    def file(self, folder: Path, imaging: Imaging) -> Path:
        """Where the patient's tensors are kept; what changes no voxel is no part of the name."""
        scanner = replace(self.protocol, rate_shift=0.0)
        parts = (installed_version(), imaging.grid, imaging.time_points, scanner, self.seed, self.site)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        return folder / "patients" / key / f"{self.index}.npz"


@dataclass(frozen=True)
class ScenarioCohorts:
    """Everybody of one seed and kind: the hospitals' own patients, and every hospital's extra test patients.

    Attributes:
        sites: name -> training and validation patients.
        tests: name -> test patients, whom no hospital trains on.

    """

    sites: dict[str, SiteCohort]
    tests: dict[str, SiteCohort]

    @property
    def test(self) -> SiteCohort:
        """All test patients, hospital after hospital."""
        return pool_cohorts(list(self.tests.values()))


def render_missing(sweep: Sweep, patients: list[Patient], advance: Advance) -> None:
    """Render the patients given and keep them in the sweep's folder; each is whole on disk or absent.

    Args:
        sweep: its grid, folder and number of processes are used.
        patients: as `missing_patients` lists them.
        advance: called once a patient.

    """
    assert sweep.study.imaging is not None
    jobs = [(patient, sweep.out, sweep.study.imaging) for patient in patients]
    if sweep.workers <= 1 or len(jobs) < 2 * sweep.workers:
        for job in jobs:
            _render(job)
            advance()
        return
    with worker_pool(sweep.workers) as pool:
        for _ in pool.map(_render, jobs, chunksize=4):
            advance()


def missing_patients(sweep: Sweep) -> list[Patient]:
    """Everybody the sweep needs who is not on disk yet, each once."""
    assert sweep.study.imaging is not None
    missing: dict[Path, Patient] = {}
    for seed in sweep.seeds:
        for kind in sweep.heterogeneity:
            for place, hospital in enumerate(hospitals(kind, sweep.sites, sweep.patients)):
                for patient in (*_own(seed, place, hospital), *_extra(seed, place, hospital, sweep)):
                    path = patient.file(sweep.out, sweep.study.imaging)
                    if not path.exists():
                        missing.setdefault(path, patient)
    return list(missing.values())


def load_cohorts(sweep: Sweep, kind: str, seed: int) -> ScenarioCohorts:
    """The rendered patients of one seed and kind.

    Raises:
        Refusal: ``damaged-patient``, when a file is not what was written.

    """
    sites, tests = {}, {}
    for place, hospital in enumerate(hospitals(kind, sweep.sites, sweep.patients)):
        name = f"site-{site_letter(place)}"
        own = _cohort(sweep, hospital, list(_own(seed, place, hospital)))
        sites[name] = replace(own, split=_split(len(own), sweep.study))
        tests[name] = _cohort(sweep, hospital, list(_extra(seed, place, hospital, sweep)))
    return ScenarioCohorts(sites, tests)


def _own(seed: int, place: int, hospital: Hospital) -> Iterator[Patient]:
    """The first eligible patients of the hospital's block."""
    numbered = (Patient(seed, _TRAINING_SITE, place * _BLOCK + n, hospital.protocol) for n in count())
    eligible = (one for one in numbered if draw_outcome(seed, one.site, one.index).ineligible is None)
    return islice(eligible, hospital.patients)


def _extra(seed: int, place: int, hospital: Hospital, sweep: Sweep) -> Iterator[Patient]:
    """The hospital's share of the test patients, none of whom is ineligible."""
    share, rest = divmod(sweep.test_patients, sweep.sites)
    numbers = range(share + (place < rest))
    return (Patient(seed, TEST_SITE + _TRAINING_SITE, place * _BLOCK + n, hospital.protocol) for n in numbers)


def _cohort(sweep: Sweep, hospital: Hospital, patients: list[Patient]) -> SiteCohort:
    assert sweep.study.imaging is not None
    tensors = [_read(one.file(sweep.out, sweep.study.imaging)) for one in patients]
    images, rois = (np.stack(part) for part in zip(*tensors, strict=True))
    if hospital.baseline_only:
        second = sweep.study.imaging.time_points.index("post")
        images[:, second], rois[:, second] = 0, 0  # as intake stores a CT that was not taken
    outcomes = [draw_outcome(one.seed, one.site, one.index, one.protocol) for one in patients]
    return phantom_cohort(sweep.study, outcomes, images, rois, [one.protocol for one in patients])


def _split(patients: int, study: Study) -> NDArray[np.str_]:
    """Validation patients spread evenly; the study's test patients go to training, since there are others."""
    share = study.analysis.split.validation
    numbers = np.floor(share * np.arange(patients + 1) + 0.5)
    return np.where(np.diff(numbers) > 0, "validation", "train").astype("<U10")


def _render(job: tuple[Patient, Path, Imaging]) -> None:
    one, folder, imaging = job
    images, rois = phantom_tensors(phantom_case(one.seed, one.site, one.index, one.protocol), imaging)
    content = io.BytesIO()
    np.savez(content, images=images, rois=rois)
    path = one.file(folder, imaging)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def _read(path: Path) -> Tensors:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return arrays["images"], arrays["rois"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise Refusal("damaged-patient", f"{path} cannot be read", "delete it and run the sweep again") from error
