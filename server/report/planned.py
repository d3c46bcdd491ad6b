"""Parts of ``results.json`` that tell what was fixed before the test set opened, and how it was opened."""

from fedescc.server.report.parts import Count, Part, Sha256, Unit


class ThresholdRule(Part):
    """A rule with its number: a sensitivity, a specificity, or the costs of the two errors."""

    rule: str
    at: Unit | None = None
    false_negative: float | None = None
    false_positive: float | None = None


class PlannedSubgroup(Part):
    """The variable of a subgroup, and where a number is cut."""

    variable: str
    cuts: tuple[float, ...] = ()


class Analysis(Part):
    """The plan as the study's file has it."""

    primary_metric: str | None = None
    threshold: str | ThresholdRule | None = None
    histogram_bins: Count | None = None
    comparators: tuple[str, ...] = ()
    compared_with: str | None = None
    partial_auc: Unit | None = None
    decision_thresholds: tuple[Unit, ...] = ()
    subgroups: dict[str, PlannedSubgroup] = {}


class Asked(Part):
    """The run's comparators: those that the plan names, others, and those of the plan that were not run."""

    planned: tuple[str, ...] = ()
    exploratory: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()


class Plan(Part):
    """The analysis plan and its digest."""

    sha256: Sha256
    analysis: Analysis = Analysis()
    comparators: Asked = Asked()


class Opening(Part):
    """One opening of a test set; ``sites`` is how often other runs had opened these patients, None if not told."""

    plan_sha256: Sha256
    opened_at: str
    looks: tuple[Sha256, ...] = ()
    thresholds: dict[str, Unit] = {}
    sites: dict[str, Count | None] = {}
