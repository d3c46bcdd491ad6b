"""The part ``planning`` of ``results.json``: what was to be expected before training, as the report reads it.

Every key that `fedescc.server.planning.words` looks up is required, so that a document without it is refused.
"""

from typing import Literal

from fedescc.server.report.parts import Count, Part, Unit


class Span(Part):
    """An expected interval; all None where there is none."""

    low: float | None
    high: float | None
    width: float | None


class Outlook(Part):
    """Expected intervals at one assumed AUC."""

    auc: Unit
    pooled: Span
    sites: dict[str, Span]


class Assumed(Part):
    """What the plan takes for granted."""

    auc: Unit
    mode: str
    folds: Count


class Precision(Part):
    """Patients to be tested, and the intervals that they give."""

    n: Count
    n_pos: Count
    sites_left_out: tuple[str, ...]
    at: tuple[Outlook, ...]
    reason: str | None = None


class Minimum(Part):
    """What Riley's criteria ask for."""

    patients: Count
    events_per_parameter: float


class Need(Part):
    """Training patients against the minimum for so many parameters."""

    parameters: Count
    events_per_parameter: float
    needed: Minimum
    enough: bool
    expected_shrinkage: float


class NoNeed(Part):
    """A model with nothing to fit."""

    parameters: Count
    reason: str


class PlannedRegression(Part):
    """A regression: what it fits at most, and what it chooses from."""

    fitted: Need | NoNeed
    candidates: Need | NoNeed


class PlannedNetwork(Part):
    """A deep network, for which there is no formula."""

    weights: Count
    reason: str


class Development(Part):
    """Training patients, and what each planned model needs."""

    sites_left_out: tuple[str, ...]
    models: dict[str, PlannedRegression | PlannedNetwork]
    reason: str | None = None


class Level(Part):
    """What to expect of one level of a subgroup."""

    patients: Count
    positives: Count
    tested: float
    likely_sites: tuple[str, ...]
    expected_sites: float
    kept_by: tuple[str, ...]


class Cost(Part):
    """Epsilon of one site's training; None with a reason where it cannot be computed."""

    sampling_rate: float | None = None
    steps: Count = 0
    epsilon: float | None
    epsilon_rdp: float | None = None
    reason: str | None = None


class Unprotected(Part):
    """A run without differential privacy."""

    differential_privacy: Literal[False]
    sites: dict[str, Cost]


class Protected(Part):
    """A run with differential privacy, what its rounds cost, and what would be charged beside them."""

    differential_privacy: Literal[True]
    noise_multiplier: float
    delta: float
    sites: dict[str, Cost]
    charged_beside_training: tuple[str, ...]


class PlannedSite(Part):
    """A site that told its counts, and whether its own results can be shown."""

    role: str


class Planned(Part):
    """A plan; ``refused`` are sites whose counts it has not."""

    assumed: Assumed
    sites: dict[str, PlannedSite]
    precision: Precision
    development: Development
    subgroups: dict[str, dict[str, Level]]
    privacy: Unprotected | Protected
    refused: dict[str, str] = {}


class Unplanned(Part):
    """Why there is no plan."""

    reason: str
    refused: dict[str, str] = {}
