"""Federated logistic regression: coefficients out, exact sums back, until Newton ends; the penalty by validation."""

from dataclasses import dataclass, field, replace

import numpy as np

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.statistics.logistic import (
    MAX_SITES,
    LogisticTerms,
    Penalty,
    balanced_weights,
    flat_weights,
    newton_step,
    start,
)
from fedescc.common.statistics.newton import NewtonFit
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluate import DEFAULT_THRESHOLD, Evaluator
from fedescc.server.exchange import Attendance
from fedescc.server.replies import SplitShare, malformed, split_share, whole_numbers
from fedescc.server.training.rounds import require_quorum

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # scikit-learn's C, strongest penalty first
DEFAULT_PENALTY = 0.1  # where no site releases validation sums
CHANGED = "patients-changed"
_LOSSES_DIFFER = 1e-9


@dataclass
class Regression:
    """One federated regression: asks for the terms of ever the same sites.

    Attributes:
        evaluator: reaches the sites; its task says what the columns are made from.
        columns: without the intercept.
        class_weights: of patients without and with the outcome.
        balanced: whether these give both classes the same say, whichever sites take part.
        patients: sites that take part, and their patients; empty before the first answer.
        lost: sites that took no part, or not to the end, and why.
        attendance: of the last question, by the sites that still take part.

    """

    evaluator: Evaluator
    columns: int
    class_weights: tuple[float, float] = (1.0, 1.0)
    balanced: bool = False
    patients: dict[str, int] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    attendance: Attendance = field(default_factory=lambda: Attendance(0, 0))

    def terms(self, coefficients: tuple[float, ...]) -> LogisticTerms:
        """The sum over the sites that have answered every question so far.

        Raises:
            Refusal: fewer of them than the quorum, or more than the exact sum holds.

        """

        def read(reply: Reply) -> LogisticTerms:
            found = logistic_share(reply, self.columns + 1)
            if self.patients.get(reply.site, found.n) != found.n:
                raise Refusal(CHANGED, "terms of another number of patients", "restart the run")
            return found

        weights = list(self.class_weights)
        found, now = self.evaluator.ask(wire.LOGISTIC, read, coefficients=list(coefficients), class_weights=weights)
        self.lost = now.refused | self.lost
        taken = {site: share for site, share in found.items() if not self.patients or site in self.patients}
        self.patients = {site: share.n for site, share in taken.items()}
        # A site that comes back after it was lost stays out: its sums would be of another regression.
        missing = {site: code for site, code in self.lost.items() if site not in taken}
        self.attendance = replace(now, accepted=list(taken), refused=missing)
        require_quorum(self.attendance, self.evaluator.min_sites, "logistic regression")
        if len(taken) > MAX_SITES:
            raise Refusal("too-many-sites", f"{len(taken)} sites", f"the exact sum holds {MAX_SITES}")
        return add_up(taken.values())

    def balance(self) -> None:
        """Give both classes the same say in all that follows.

        Raises:
            Refusal: one class, or as `terms`.

        """
        self.class_weights = balanced_weights(self.terms((0.0,) * (self.columns + 1)))
        self.balanced = True

    def fit(self, penalty: Penalty, fit: NewtonFit | None = None) -> NewtonFit:
        """Coefficients under one penalty, from zero or from where another fit ended.

        A site lost on the way leaves another sum to minimise: the fit goes on from where it stands, without its anchor,
        and where classes are balanced with the weights of the patients who are left.

        Raises:
            Refusal: as `terms`, or one class is left.

        """
        fit = NewtonFit(fit.coefficients) if fit else start(self.columns)
        while fit.outcome is None:
            sites = set(self.patients)
            total = self.terms(fit.coefficients)
            if sites not in (set(), set(self.patients)):
                fit = NewtonFit(fit.coefficients, evaluations=fit.evaluations)
                if self.balanced:
                    self.class_weights = balanced_weights(total)
                    continue
            fit = newton_step(total, fit, penalty)
        return fit


@dataclass(frozen=True)
class PathStep:
    """A fit under one penalty.

    Attributes:
        penalty: scikit-learn's C.
        coefficients: intercept first.
        outcome: "converged", or why the fit ended otherwise.
        validation_loss: mean log loss of the validation patients; None where no site released it.

    """

    penalty: float
    coefficients: tuple[float, ...]
    outcome: str
    validation_loss: float | None = None


def fit_path(regression: Regression, penalties: tuple[float, ...] = PENALTIES) -> list[PathStep]:
    """Fits under every penalty, the strongest first, each from where the last one ended, all by the same sites.

    Raises:
        Refusal: as `Regression.terms`.

    """
    while True:
        sites: set[str] = set(regression.patients)
        fit: NewtonFit | None = None
        path = []
        for c in sorted(penalties):
            fit = regression.fit(Penalty(c), fit)
            path.append(PathStep(c, fit.coefficients, fit.outcome or "not-converged"))
            sites = sites or set(regression.patients)
        if sites == set(regression.patients):
            return path


def choose_penalty(model: Evaluator, path: list[PathStep]) -> tuple[PathStep, list[PathStep]]:
    """The step with the least federated validation log loss, a tie going to the stronger penalty; and the whole path.

    Only sites that released their sums for every step count, so that all steps speak of the same patients. Test
    patients play no part.

    Args:
        model: its task says what the model is; its weights are filled in.
        path: steps to choose from; those that did not converge are not chosen.

    Raises:
        Refusal: no step converged.

    """
    converged = [step for step in path if step.outcome == "converged"]
    if not converged:
        raise Refusal("not-converged", f"no fit converged ({path[0].outcome})", "check the columns, or add patients")
    released = [_released_losses(model, step) for step in converged]
    sites = sorted(set.intersection(*(set(losses) for losses in released)))
    if not sites:
        return min(converged, key=lambda step: abs(np.log(step.penalty / DEFAULT_PENALTY))), path
    means = [_mean_loss([losses[site] for site in sites]) for losses in released]
    judged = [replace(step, validation_loss=mean) for step, mean in zip(converged, means, strict=True)]
    best = min(means)
    chosen = next(step for step, mean in zip(judged, means, strict=True) if mean <= best + _LOSSES_DIFFER)
    rest = {step.penalty: step for step in judged}
    return chosen, [rest.get(step.penalty, step) for step in path]


def logistic_share(reply: Reply, size: int) -> LogisticTerms:
    """Terms of ``size`` coefficients out of a reply.

    Raises:
        Refusal: incomplete terms, or terms that no patients can have.

    """
    sums = reply.sums
    n, n_pos, loss = (sums.get(key) for key in ("n", "n_pos", "loss"))
    if type(n) is not int or type(n_pos) is not int or type(loss) is not int:
        raise malformed("logistic terms lack their patients or their loss")
    gradient, hessian = (
        whole_numbers(sums, key, length) for key, length in (("gradient", size), ("hessian", size * (size + 1) // 2))
    )
    found = LogisticTerms(n, n_pos, loss, gradient, hessian)
    if not found.possible():
        raise malformed("logistic terms are not those of patients")
    return found


def _released_losses(model: Evaluator, step: PathStep) -> dict[str, tuple[int, float]]:
    """Site -> validation patients and their total log loss."""

    def read(reply: Reply) -> SplitShare:
        return split_share(reply.sums, reply.reasons, 2)

    asked = replace(model, weights=flat_weights(step.coefficients))
    found, _ = asked.ask(wire.VALIDATION, read, edges=[DEFAULT_THRESHOLD], threshold=DEFAULT_THRESHOLD)
    shares = {site: share.sums for site, share in found.items() if share.sums is not None}
    return {site: (sums.n, sums.log_loss_sum) for site, sums in shares.items()}


def _mean_loss(parts: list[tuple[int, float]]) -> float:
    return float(sum(loss for _, loss in parts) / sum(n for n, _ in parts))
