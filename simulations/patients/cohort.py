"""Write a synthetic multi-site cohort to a folder, one site as a hospital would hold it.

``OUT/site-a/`` (``site-b`` and so on) holds

- ``dicom/<patient>/<study date>/IM0001.dcm ...``: the two CTs, plus ``RS.dcm`` (RTSTRUCT) at sites that draw there;
- ``masks/<patient>/pre.nii.gz`` and ``post.nii.gz`` at the other sites: ROI 1, rest 0, on the CT's own grid; they
  belong to the CT of that patient with the same geometry (origins differ between the two CTs);
- ``clinical.csv``, ``site.yaml`` and ``work/salt``: the salt comes from the seed, so that splits repeat.

``OUT/study.yaml`` is the study, ``OUT/cohort.json`` says what was generated, and ``OUT/truth.csv`` holds every
patient's latents, probability and label: no site has it. The same arguments give the same bytes.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from fedescc.client.workers import worker_pool
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.simulations.patients.dicom_writer import write_ct, write_rtstruct
from fedescc.simulations.patients.outcome import LATENTS, Outcome, Value, draw_outcome
from fedescc.simulations.patients.phantom import Scan, phantom_case
from fedescc.simulations.patients.scanners import TEST_SITE, patient_id, scanner, site_letter

_LARGEST, _SMALLEST = 1.6, 0.5
_RENAMING_SITE = 1
_LOCAL_COLUMNS = {"sex": "Sex", "age": "Age_years", "cps": "PD-L1 CPS", "other_malignancy": "second_tumour"}
_LOCAL_VALUES = {"sex": {"male": "M", "female": "F"}, "other_malignancy": {"no": "0", "yes": "1"}}
_LOCAL_DATES = "%d.%m.%Y"
_NO_LIMIT = 10**9  # questions


@dataclass(frozen=True)
class _Job:
    out: Path
    seed: int
    site: int
    index: int


def write_cohort(
    out: Path,
    sizes: Sequence[int],
    seed: int,
    study: Study,
    workers: int = 2,
    progress: Callable[[], None] | None = None,
) -> None:
    """Write one hospital for each number of patients.

    Args:
        out: folder to write, absent or empty.
        sizes: patients of each of 1 to 26 sites, ineligible ones among them; see `site_sizes`.
        seed: everything is a function of it.
        study: must ask for nothing the phantom does not have.
        workers: processes.
        progress: called once a patient.

    Raises:
        Refusal: ``out`` is not empty, sizes or seed out of range, or a study the phantom cannot simulate.

    """
    _check(out, sizes, seed, study)
    jobs = [_Job(out, seed, site, index) for site, size in enumerate(sizes) for index in range(size)]
    for _ in _run(jobs, workers):
        if progress:
            progress()
    for site, size in enumerate(sizes):
        _write_site(out, site, [draw_outcome(seed, site, index) for index in range(size)], seed, study)
    _write_truth(out, [(job.site, job.index, draw_outcome(seed, job.site, job.index)) for job in jobs])
    _write_about(out, sizes, seed, study)


def site_sizes(sites: int, patients: int) -> list[int]:
    """Patients of every site: from 1.6 to 0.5 times the mean in even steps, ``sites * patients`` in all."""
    weights = np.linspace(_LARGEST, _SMALLEST, sites) if sites > 1 else np.ones(1)
    return _apportion(weights, sites * patients)


def held_out(sizes: Sequence[int], count: int) -> list[tuple[int, int]]:
    """(site, index) of ``count`` test patients in the same mixture of sites as a cohort of those sizes."""
    weights = np.array(sizes, dtype=float)
    return [(TEST_SITE + site, index) for site, size in enumerate(_apportion(weights, count)) for index in range(size)]


def _apportion(weights: np.ndarray, total: int) -> list[int]:
    """Whole numbers in the given proportions that sum to ``total`` (largest remainders)."""
    shares = weights / weights.sum() * total
    counts = np.floor(shares).astype(int)
    order = np.argsort(counts - shares, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(n) for n in counts]


def _check(out: Path, sizes: Sequence[int], seed: int, study: Study) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refusal("output-not-empty", f"{out} is not an empty folder", "choose a new folder")
    if not 1 <= len(sizes) <= 26 or not all(1 <= size <= 8000 for size in sizes):
        what = f"{len(sizes)} sites of {min(sizes, default=0)} to {max(sizes, default=0)} patients"
        raise Refusal("cohort-size", what, "use 1 to 26 sites of 1 to 8000 patients")
    if seed < 0:
        raise Refusal("negative-seed", f"seed {seed} is negative", "use 0 or more")
    require_simulated(study)


def require_simulated(study: Study) -> None:
    """Refuse a study that asks for what the phantom does not have.

    Raises:
        Refusal: ``study-not-simulated``.

    """
    known = draw_outcome(0, 0, 0).clinical
    unknown = [name for name in study.variables if name not in known]
    if unknown or study.imaging is None:
        what = f"variable {unknown[0]}" if unknown else "a study without CT"
        raise Refusal("study-not-simulated", f"the phantom has no data for {what}", "use escc-pcr or a subset of it")


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_write_patient, jobs)
        return
    with worker_pool(workers) as pool:
        yield from pool.map(_write_patient, jobs, chunksize=2)


def _write_patient(job: _Job) -> None:
    case = phantom_case(job.seed, job.site, job.index)
    home = job.out / _site_name(job.site)
    for k, scan in enumerate((case.pre, case.post)):
        folder = home / "dicom" / case.patient_id / f"{scan.study_date:%Y%m%d}"
        write_ct(folder, case, k, job.seed)
        if scanner(job.site).masks == "rtstruct":
            write_rtstruct(folder, case, k, job.seed)
        else:
            _write_nifti(home / "masks" / case.patient_id / f"{('pre', 'post')[k]}.nii.gz", scan)


def _write_nifti(path: Path, scan: Scan) -> None:
    import SimpleITK

    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(scan.roi.astype(np.uint8))
    image.SetSpacing(scan.grid.spacing_zyx_mm[::-1])  # type: ignore[no-untyped-call] # SimpleITK has no types
    image.SetOrigin(scan.grid.origin_xyz_mm)  # type: ignore[no-untyped-call]
    image.SetDirection(scan.direction)  # type: ignore[no-untyped-call]
    SimpleITK.WriteImage(image, str(path))


def _site_name(site: int) -> str:
    return f"site-{site_letter(site)}"


def _write_site(out: Path, site: int, outcomes: Sequence[Outcome], seed: int, study: Study) -> None:
    home = out / _site_name(site)
    (home / "work").mkdir(parents=True)
    salt = hashlib.sha256(f"fedescc-synthetic-salt/{seed}/{site}".encode()).hexdigest()
    (home / "work" / "salt").write_text(salt + "\n", encoding="ascii")
    (home / "site.yaml").write_text(_site_yaml(site), encoding="utf-8")
    rows = [
        [patient_id(site, index), *(_cell(site, name, outcome.clinical[name]) for name in study.variables)]
        for index, outcome in enumerate(outcomes)
    ]
    header = ["patient_id", *(_column(site, name) for name in study.variables)]
    (home / "clinical.csv").write_text(_csv(header, rows), encoding="utf-8", newline="")


def _column(site: int, name: str) -> str:
    return _LOCAL_COLUMNS.get(name, name) if site == _RENAMING_SITE else name


def _cell(site: int, name: str, value: Value) -> str:
    local = site == _RENAMING_SITE
    if value is None:
        return "NA" if local else ""
    if isinstance(value, date):
        return value.strftime(_LOCAL_DATES if local else "%Y-%m-%d")
    if isinstance(value, float):
        return f"{value:g}"
    return _LOCAL_VALUES.get(name, {}).get(value, value) if local else value


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _site_yaml(site: int) -> str:
    import yaml

    clinical: dict[str, object] = {"path": "clinical.csv"}
    if site == _RENAMING_SITE:
        values = {name: {local: value for value, local in m.items()} for name, m in _LOCAL_VALUES.items()}
        clinical |= {"names": _LOCAL_COLUMNS, "values": values, "date_format": _LOCAL_DATES}
    images = {"dicom": "dicom"} | ({"masks": "masks"} if scanner(site).masks == "nifti" else {})
    settings = {"site": _site_name(site), "clinical": clinical, "images": images, "work": "work"}
    policy: dict[str, object] = {"min_class_count": 2, "score_histogram": "plain", "small_newton": "plain"}
    policy |= {"dominance_percent": 0, "query_budget": {"other": [_NO_LIMIT, _NO_LIMIT]}}
    return (
        "# A synthetic hospital: no patient behind it.\n"
        + yaml.safe_dump(settings, sort_keys=False)
        + "# Relaxed because the data are synthetic and the sites small; a real hospital keeps the defaults.\n"
        + yaml.safe_dump({"policy": policy}, sort_keys=False)
    )


def _write_truth(out: Path, patients: Sequence[tuple[int, int, Outcome]]) -> None:
    header = ["site", "patient_id", "ineligible", "label", "probability", *LATENTS]
    rows = [
        [
            _site_name(site),
            patient_id(site, index),
            o.ineligible or "",
            str(o.label),
            *(f"{v:.9g}" for v in (o.probability, *(o.latents[name] for name in LATENTS))),
        ]
        for site, index, o in patients
    ]
    (out / "truth.csv").write_text(_csv(header, rows), encoding="utf-8", newline="")


def _write_about(out: Path, sizes: Sequence[int], seed: int, study: Study) -> None:
    (out / "study.yaml").write_text(study.to_yaml(), encoding="utf-8")
    about = {
        "format": 1,
        "synthetic": True,
        "seed": seed,
        "study": study.name,
        "study_sha256": study.sha256,
        "sites": {_site_name(site): size for site, size in enumerate(sizes)},
        "truth": "truth.csv",
        "latents": list(LATENTS),
    }
    (out / "cohort.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
