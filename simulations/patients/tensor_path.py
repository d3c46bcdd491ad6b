"""Phantom patients straight to tensors: the same HU, ROI and preprocessing as through DICOM, without the files.

A test proves both paths equal bit for bit; this one makes test sets of a thousand patients affordable.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.client.acquisition.facts import Acquisition, acquisition_arrays, known_codes
from fedescc.client.cohort import SiteCohort
from fedescc.client.imaging.preprocess import grid_spec, preprocess
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.client.intake.intake import covariate_arrays
from fedescc.client.workers import worker_pool
from fedescc.common.console import Advance
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid, Imaging, TimePoint
from fedescc.common.study import Study
from fedescc.simulations.patients.outcome import Outcome, draw_outcome
from fedescc.simulations.patients.phantom import PhantomCase, Scan, phantom_case
from fedescc.simulations.patients.scanners import Scanner, scanner


@dataclass(frozen=True)
class PhantomSet:
    """Synthetic patients as a cohort, with what only a simulation knows.

    Attributes:
        cohort: all patients in the ``test`` split.
        probability: (n,) true probability of the outcome.
        latents: (n, k) true causes, in the generator's order.

    """

    cohort: SiteCohort
    probability: NDArray[np.float64]
    latents: NDArray[np.float64]


@dataclass(frozen=True)
class _Job:
    seed: int
    site: int
    index: int
    imaging: Imaging


def phantom_set(
    seed: int, patients: Sequence[tuple[int, int]], study: Study, *, workers: int, advance: Advance
) -> PhantomSet:
    """Render and preprocess patients given as (site, index); about 0.2 s of one core each.

    Args:
        seed: of the generator.
        patients: which ones; ineligible ones are left out.
        study: its grid and covariates are used.
        workers: processes.
        advance: called once a patient.

    Raises:
        Refusal: the study has no images.

    """
    if study.imaging is None:
        raise Refusal("no-images", f"study {study.name} has no imaging section", "use a study with images")
    drawn = [(site, index, draw_outcome(seed, site, index)) for site, index in patients]
    eligible = [(site, index, outcome) for site, index, outcome in drawn if outcome.ineligible is None]
    jobs = [_Job(seed, site, index, study.imaging) for site, index, _ in eligible]
    shape = (len(jobs), len(study.imaging.time_points), *study.imaging.grid.size_zyx)
    images, rois = np.zeros(shape, np.float16), np.zeros(shape, np.uint8)
    for row, (image, roi) in enumerate(_render_all(jobs, workers)):
        images[row], rois[row] = image, roi
        advance()
    outcomes = [outcome for _, _, outcome in eligible]
    return PhantomSet(
        phantom_cohort(study, outcomes, images, rois, [scanner(site) for site, _, _ in eligible]),
        np.array([outcome.probability for outcome in outcomes]),
        latent_table(outcomes),
    )


def latent_table(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Latents as (n, k) float64, columns in the generator's order."""
    return np.array([list(outcome.latents.values()) for outcome in outcomes], dtype=np.float64)


def _render_all(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[NDArray[np.float16], NDArray[np.uint8]]]:
    pool = worker_pool(workers) if workers > 1 else None
    with pool or nullcontext():
        yield from (pool.map(_tensors, jobs, chunksize=4) if pool else map(_tensors, jobs))


def _tensors(job: _Job) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    return phantom_tensors(phantom_case(job.seed, job.site, job.index), job.imaging)


def phantom_tensors(case: PhantomCase, imaging: Imaging) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """A patient's images and ROIs, both (time points, z, y, x), as intake would prepare them."""
    scans: dict[TimePoint, Scan] = {"pre": case.pre, "post": case.post}
    parts = [_one_scan(scans[point], imaging.grid) for point in imaging.time_points]
    return np.stack([image for image, _ in parts]), np.stack([roi for _, roi in parts])


def _one_scan(scan: Scan, grid: Grid) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    geometry = Geometry(scan.grid.shape_zyx, scan.grid.spacing_zyx_mm, scan.grid.origin_xyz_mm, scan.direction)
    done = preprocess(MemoryVolume(scan.hu, geometry), scan.roi, grid_spec(grid))
    return done.image.astype(np.float16), done.roi


def phantom_cohort(
    study: Study,
    outcomes: Sequence[Outcome],
    images: NDArray[np.float16],
    rois: NDArray[np.uint8],
    scanners: Sequence[Scanner] = (),
) -> SiteCohort:
    """Patients with their images, all in the ``test`` split, keys in the order given.

    ``scanners``, one a patient, tell how the CTs were acquired; without them that is not known.
    """
    known = [{name: value for name, value in o.clinical.items() if value is not None} for o in outcomes]
    numeric, categorical = covariate_arrays(study, known)
    return SiteCohort(
        keys=tuple(f"{row:08d}" for row in range(len(outcomes))),
        labels=np.array([outcome.label for outcome in outcomes], dtype=np.int8),
        numeric=numeric,
        categorical=categorical,
        split=np.full(len(outcomes), "test", dtype="<U10"),
        images=images,
        rois=rois,
        flow={"included": len(outcomes)},
        acquisition=_acquired(study, scanners, images),
    )


def _acquired(study: Study, scanners: Sequence[Scanner], images: NDArray[np.float16]) -> Acquisition:
    """What a scanner's settings say of its CTs. Contrast and noise have to be measured, and are unknown here."""
    if study.imaging is None or not len(scanners):
        return {}
    codes: list[dict[str, str]] = []
    measures: list[dict[str, float]] = []
    for one, scans in zip(scanners, images, strict=True):
        taken = [point for point, scan in zip(study.imaging.time_points, scans, strict=True) if scan.any()]
        own = known_codes(one.manufacturer, one.kernel)
        codes.append({f"{point}.{name}": code for point in taken for name, code in own.items()})
        measures.append({f"{point}.slice_mm": one.slice_mm for point in taken})
    return acquisition_arrays(study.imaging.time_points, codes, measures)
