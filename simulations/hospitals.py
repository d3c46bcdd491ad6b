"""The sites of a simulation: their intake, and each as a client's process would have it."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.intake import load_cohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import SiteFile, read_site
from fedescc.common.console import log
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.study import Study
from fedescc.common.wire import Request
from fedescc.simulations.engines.engine import SiteSource


@dataclass
class Hospitals:
    """The sites of a simulation by folder name: opened ones, and why the others could not be.

    Attributes:
        study: what they take part in.
        files: site files.
        cohorts: eligible patients.
        failed: why a site cannot take part.

    """

    study: Study
    files: dict[str, SiteFile] = field(default_factory=dict)
    cohorts: dict[str, SiteCohort] = field(default_factory=dict)
    failed: dict[str, Refusal] = field(default_factory=dict)

    def sources(self, engine: str) -> dict[str, SiteSource]:
        """How each site is opened for a run, by folder name; another process opens it from its files."""
        found: dict[str, SiteSource] = {
            folder: partial(_fail, why.code, why.what, why.todo) for folder, why in self.failed.items()
        }
        for folder, cohort in self.cohorts.items():
            file = self.files[folder]
            found[folder] = (
                partial(_read, file, self.study) if engine == "ray" else partial(_site, file, self.study, cohort)
            )
        return dict(sorted(found.items()))

    def by_name(self, names: Collection[str]) -> tuple[dict[str, SiteFile], dict[str, SiteCohort]]:
        """Site files and cohorts of the sites named, under their names."""
        folders = {self.files[folder].settings.site: folder for folder in self.cohorts}
        chosen = {name: folders[name] for name in sorted(names)}
        files = {name: self.files[folder] for name, folder in chosen.items()}
        return files, {name: self.cohorts[folder] for name, folder in chosen.items()}

    def views(self, task: Mapping[str, Any], columns: Collection[str] = ()) -> dict[str, SiteCohort]:
        """Every site's patients as a fold divides them, by name; with the image features of the study's model and
        those among ``columns``.

        A site that refuses the fold is left out.
        """
        found: dict[str, SiteCohort] = {}
        request = Request(self.study.sha256, dict(task))
        for folder, cohort in self.cohorts.items():
            site = _site(self.files[folder], self.study, cohort)
            try:
                found[site.name] = site.view_with(request, {*self.study.model.image_features, *columns})
            except Refusal as refusal:
                log(f"{site.name} is not compared: {refusal}")
        return dict(sorted(found.items()))

    @property
    def identity(self) -> str:
        """SHA-256 over all patients of all sites, and over what the sites release."""
        digest = hashlib.sha256()
        for folder, cohort in sorted(self.cohorts.items()):
            settings = self.files[folder].settings
            digest.update(json.dumps([settings.site, settings.policy.model_dump(mode="json"), cohort.keys]).encode())
            for item in fields(cohort):
                _add(digest, getattr(cohort, item.name))
        digest.update(json.dumps({folder: refusal.code for folder, refusal in sorted(self.failed.items())}).encode())
        return digest.hexdigest()


def open_hospitals(folder: Path, study: Study, seed: int, work: Path | None) -> Hospitals:
    """Intake at every site; a site that cannot take part is named and left out.

    Args:
        folder: one folder a site, each with its ``site.yaml``.
        study: the study.
        seed: from which, with ``work``, the sites' salts follow.
        work: where the simulation keeps what the sites would in their own work folders; None uses these.

    Raises:
        Refusal: no site, or two of one name.

    """
    paths = sorted(folder.glob("*/site.yaml"))
    if not paths:
        raise Refusal("no-sites", f"no */site.yaml in {folder}", "give a folder with one folder a site")
    hospitals = Hospitals(study)
    for path in paths:
        name = path.parent.name
        try:
            site = _at_home(read_site(path), work, seed) if work else read_site(path)
            hospitals.files[name] = site
            hospitals.cohorts[name] = load_cohort(site, study)
        except Refusal as refusal:
            log(f"{name} cannot take part: {refusal}")
            hospitals.failed[name] = refusal
    _require_distinct_names(hospitals)
    return hospitals


def _require_distinct_names(hospitals: Hospitals) -> None:
    names = [site.settings.site for site in hospitals.files.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Refusal("site-name-conflict", f"two sites are called {twice[0]!r}", "give each site its own name")


def _at_home(site: SiteFile, work: Path, seed: int) -> SiteFile:
    """The site with a work folder of the simulation's own, whose salt follows from the seed.

    So the same seed splits patients the same way on every machine, and a hospital's real salt is not touched.
    """
    own = (work / site.settings.site).absolute()
    own.mkdir(parents=True, exist_ok=True)
    salt = hashlib.sha256(f"fedescc-simulated-salt|{seed}|{site.settings.site}".encode()).hexdigest()
    write_atomically(own / "salt", salt.encode())
    return SiteFile(settings=site.settings.model_copy(update={"work": str(own)}), folder=site.folder)


def _site(file: SiteFile, study: Study, cohort: SiteCohort) -> LocalSite:
    return LocalSite(file.settings.site, study, file.settings.policy, cohort, file.work)


def _read(file: SiteFile, study: Study) -> LocalSite:
    return _site(file, study, load_cohort(file, study))


def _fail(code: str, what: str, todo: str) -> LocalSite:
    raise Refusal(code, what, todo)  # in pieces, because an exception with three arguments cannot be pickled


def _add(digest: Any, value: Any) -> None:
    """Take in an array, a table of arrays or their absence, with names, types and shapes."""
    if isinstance(value, dict):
        for name, item in sorted(value.items()):
            digest.update(name.encode())
            _add(digest, item)
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        for block in value if value.ndim > 1 else (value,):
            digest.update(np.asarray(block).tobytes())
    else:
        digest.update(repr(value).encode())
