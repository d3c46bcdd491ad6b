"""The site file: where this hospital's data lie, how its columns are called, and its own release policy.

It never leaves the hospital. Paths are relative to the file itself; ``~`` is the user's home folder and ``${NAME}``
in a path is read from the environment, so that one file serves in a container and on the ward's computer.
"""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fedescc.common.disclosure.budget import BUDGETS, Budget
from fedescc.common.errors import Refusal
from fedescc.common.names import POOLED, SITE_NAME
from fedescc.common.protocol import Name
from fedescc.common.yamlfile import Strict, read_model

ROW_NUMBER = "row_number"
BELOW_MINIMUM = "class-count-below-minimum"  # why a count, or what it belongs to, stays at the site
# "" would be the folder of the site file itself.
PathText = Annotated[str, Field(min_length=1)]


class ClinicalTable(Strict):
    """The clinical table: one row a patient."""

    path: PathText
    columns: tuple[str, ...] | None = None  # for a file without a header line
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    missing: tuple[str, ...] = ("", "NA", "?")
    missing_values: dict[Name, tuple[str, ...]] = {}  # study variable -> more texts that mean missing there
    patient_id: str = "patient_id"  # a column, or row_number where the file has no identifier
    names: dict[Name, str] = {}  # study variable -> this site's column; the same name where absent
    values: dict[Name, dict[str, str]] = {}  # study variable -> this site's value -> the study's category
    date_format: str = "%Y-%m-%d"
    split: str | None = None  # column with train / val / test, if the study allows it

    @field_validator("date_format")
    @classmethod
    def _reads_what_it_writes(cls, value: str) -> str:
        day = datetime(2024, 11, 29)
        try:
            known = datetime.strptime(day.strftime(value), value) == day
        except (ValueError, re.error):
            known = False
        if not known:
            msg = f"{value!r} does not tell a date; write it like %Y-%m-%d"
            raise ValueError(msg)
        return value


class Images(Strict):
    """The CT exports and the drawn ROIs (RTSTRUCT or NIfTI)."""

    dicom: PathText
    masks: PathText | None = None  # folder of masks kept apart from the CT export
    match: Literal["patient_id", "accession", "folder"] = "patient_id"
    accession_columns: tuple[str, ...] = ()  # the table's columns with the CTs' accession numbers
    overrides: PathText | None = None  # a person's decisions about single CTs: see intake/overrides.py

    @model_validator(mode="after")
    def _accession_needs_columns(self) -> Self:
        if (self.match == "accession") != bool(self.accession_columns):
            msg = "match: accession and accession_columns are given together or not at all"
            raise ValueError(msg)
        return self


class ReleasePolicy(Strict):
    """This hospital's own limits on what leaves; the stricter of these and the study's floor holds."""

    min_class_count: Annotated[int, Field(ge=1)] = 5
    score_histogram: Literal["never", "plain"] = "never"
    # plain: sums that could be solved for single patients, of as many columns as patients or of rare categories, leave
    small_newton: Literal["never", "plain"] = "never"
    # local: pages with single patients' explanations are written into the site's work folder; they never leave
    explanation_pages: Literal["never", "local"] = "never"
    # A sum stays here if whoever knows the second largest value in it comes this near (%) to the largest; 0 lifts that.
    dominance_percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    # plain: answer also after few patients came, left or changed, though the difference to earlier answers is of them
    small_changes: Literal["never", "plain"] = "never"
    # Message type, or other for all not named -> how many different questions are answered in one run, and in a study.
    query_budget: dict[str, Budget] = {}

    @field_validator("query_budget")
    @classmethod
    def _of_known_kinds(cls, value: dict[str, Budget]) -> dict[str, Budget]:
        if unknown := sorted(set(value) - set(BUDGETS)):
            msg = f"no message type {unknown[0]!r}; give one of {', '.join(sorted(BUDGETS))}"
            raise ValueError(msg)
        if any(min(budget) < 0 for budget in value.values()):
            msg = "a budget counts questions, so it is not below 0"
            raise ValueError(msg)
        return value


class Site(Strict):
    """A site file, checked. See configs/site.example.yaml."""

    site: Annotated[str, Field(pattern=f"^{SITE_NAME.pattern}$")]
    clinical: ClinicalTable
    images: Images | None = None
    work: PathText = "work"
    policy: ReleasePolicy = ReleasePolicy()

    @field_validator("site")
    @classmethod
    def _not_a_total(cls, value: str) -> str:
        if value == POOLED:
            msg = f"{POOLED!r} means all sites together; choose another name"
            raise ValueError(msg)
        return value


class SiteFile(Strict):
    """A site's settings together with the folder they were read from."""

    settings: Site
    folder: Path

    def path(self, value: str) -> Path:
        """A path of the site file, ``${NAME}`` and ``~`` filled in, relative to the file's folder.

        Raises:
            Refusal: an unset variable, or a home folder that is not known.

        """
        try:
            return self.folder / Path(_fill_in(value)).expanduser()
        except RuntimeError:
            raise Refusal("unknown-home", f"site file: no home folder for {value!r}", "write the path out") from None

    @property
    def work(self) -> Path:
        """Folder for the salt, the cache and everything else that fedescc writes at this site."""
        return self.path(self.settings.work)


def read_site(path: Path) -> SiteFile:
    """The settings in a site file.

    Raises:
        Refusal: missing or invalid file, or a folder.

    """
    if path.is_dir():
        raise Refusal("unreadable-settings", f"{path} is a folder", f"give the file, such as {path / 'site.yaml'}")
    return SiteFile(settings=read_model(path, Site), folder=path.resolve().parent)


def _fill_in(value: str) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise Refusal(
                "unset-variable",
                f"site file: ${{{name}}} is not set in the environment",
                f"set {name} or write the path out",
            )
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, value)
