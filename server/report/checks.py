"""Parts of ``results.json`` that examine a run: scanner shortcuts, what each site gives, and the audit."""

from typing import Annotated

from pydantic import Field

from fedescc.server.report.expected import Planned, Unplanned
from fedescc.server.report.parts import Count, Interval, Part, Unit

Positive = Annotated[float, Field(ge=0)]


class Assigned(Part):
    """Validation patients of one site or vendor, and how many the embeddings assign to it."""

    n: Count
    right: Count | None = None
    accuracy: Unit | None = None
    suppressed: str | None = None


class Telling(Part):
    """How well embeddings tell classes apart; ``bounds`` hold an accuracy of which counts are hidden."""

    accuracy: Unit | None = None
    bounds: Interval | None = None
    ci95: Interval | None = None
    chance: Unit | None = None
    told_apart: bool | None = None
    classes: dict[str, Assigned] = {}
    not_judged: tuple[str, ...] = ()
    suppressed: str | None = None


class Embeddings(Part):
    """What the model's embeddings tell."""

    site: Telling = Telling()
    vendor: Telling = Telling()
    embedding: Count | None = None
    columns: Count | None = None
    basis: str | None = None
    note: str | None = None
    refused: dict[str, str] = {}


class Category(Part):
    """A kind of scan at one time point: counts by site and level, and Pearson's test over ``compared`` sites."""

    sites: dict[str, dict[str, Count]] = {}
    compared: tuple[str, ...] = ()
    chi2: Positive | None = None
    df: float | None = None
    p: Unit | None = None
    p_adjusted: Unit | None = None
    cramers_v: Positive | None = None
    sparse: bool | None = None
    suppressed: str | None = None


class SiteNumber(Part):
    """A number of one site's scans; ``smd`` is its standardised difference from the other sites'."""

    n: Count | None = None
    mean: float | None = None
    sd: Positive | None = None
    rest_mean: float | None = None
    smd: float | None = None
    suppressed: str | None = None


class Number(Part):
    """A number of scans at one time point by site, and Welch's test."""

    unit: str = ""
    sites: dict[str, SiteNumber] = {}
    f: Positive | None = None
    df: tuple[float, float] | None = None
    p: Unit | None = None
    p_adjusted: Unit | None = None
    suppressed: str | None = None


class Flag(Part):
    """A difference that is too large, of one site or (None) of all."""

    what: str
    site: str | None = None
    value: float | None = None
    why: str


class Drift(Part):
    """How scans differ between sites; ``suppressed`` is why it was not examined."""

    patients: dict[str, Count] = {}
    categories: dict[str, Category] = {}
    numbers: dict[str, Number] = {}
    tests: Count | None = None
    flags: tuple[Flag, ...] = ()
    refused: dict[str, str] = {}
    suppressed: str | None = None


class Shortcuts(Part):
    """Drift before any model, and what the trained model's embeddings tell of it."""

    drift: Drift | None = None
    embeddings: Embeddings | None = None


class Gain(Part):
    """AUC of the model of all sites less that of the model without one, with its paired test."""

    gain: float | None = None
    standard_error: Positive | None = None
    ci95: tuple[float, float] | None = None
    p: Unit | None = None
    suppressed: str | None = None


class SiteGains(Part):
    """What one site gives, over all test patients and over the other sites' alone.

    ``refused`` is which sites missed what of the model without it, by type of message.
    """

    all_sites: Gain = Gain()
    other_sites: Gain = Gain()
    refused: dict[str, dict[str, str]] = {}


class Contribution(Part):
    """What every site gives the model; ``unavailable`` is why it cannot be told of some."""

    unit: str = "AUC"
    sites: dict[str, SiteGains] = {}
    unavailable: dict[str, str] = {}
    note: str | None = None


class AuditGroup(Part):
    """Figures of one kind, and of these the one furthest from the pooled patients' as a share of its tolerance."""

    figures: Count
    failed: Count
    worst: str
    difference: float | None = None
    tolerance: Positive


class AuditFigure(Part):
    """A figure as published, and as the pooled patients give it."""

    group: str
    figure: str
    federated: float
    pooled: float | None = None
    difference: float | None = None
    tolerance: Positive
    passed: bool


class Audit(Part):
    """Every published figure of a simulation once more on the pooled patients."""

    passed: bool
    groups: dict[str, AuditGroup] = {}
    figures: tuple[AuditFigure, ...] = ()
    not_audited: dict[str, str] = {}


def examined_sites(
    shortcuts: Shortcuts | None, contribution: Contribution | None, planning: Planned | Unplanned | None
) -> set[str]:
    """Every site that the figures of these parts show."""
    drift = shortcuts.drift if shortcuts else None
    numbers = drift.numbers.values() if drift else ()
    outlooks = planning.precision.at if isinstance(planning, Planned) else ()
    found = {site for one in (*numbers, *outlooks) for site in one.sites}
    return found | (contribution.sites.keys() if contribution else set())
