"""Calibration of one model over all sites' test patients, by federated logistic recalibration."""

from collections.abc import Mapping
from dataclasses import replace

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.common.statistics.newton import NewtonFit
from fedescc.common.statistics.recalibration import IN_THE_LARGE, SLOPE_MODEL, RecalibrationTerms, newton_step
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.replies import recalibration_share

CONTRIBUTORS_CHANGED = "contributors-changed"  # code: a sum would be of other sites than what it stands beside


def recalibrate(evaluator: Evaluator, tested: Mapping[str, EvaluationSums]) -> tuple[NewtonFit, NewtonFit]:
    """Federated Newton: coefficients out, summed gradients and Hessians back, until both models end.

    A site lost on the way, or one with other patients than it was tested on, would mix two cohorts, so both fits then
    end without an estimate. Returned are the model of the intercept alone, and that of intercept and slope.
    """

    def read(reply: Reply) -> dict[str, RecalibrationTerms] | None:
        share, sums = recalibration_share(reply), tested.get(reply.site)
        if share is not None and sums is not None:
            for terms in share.values():
                if (terms.n, terms.n_pos) != (sums.n, sums.n_pos):
                    raise Refusal("patients-changed", "terms of other patients than were tested", "check the site")
        return share

    fits = {"large": IN_THE_LARGE, "slope": SLOPE_MODEL}
    while any(fit.outcome is None for fit in fits.values()):
        asked = {name: list(fit.coefficients) for name, fit in fits.items()}
        replies, _ = evaluator.ask(wire.RECALIBRATION, read, **asked)
        shares = {name: share for name, share in replies.items() if share is not None}
        if list(shares) != list(tested):
            return replace(fits["large"], outcome=CONTRIBUTORS_CHANGED), replace(
                fits["slope"], outcome=CONTRIBUTORS_CHANGED
            )
        fits = {n: newton_step(add_up(share[n] for share in shares.values()), fit) for n, fit in fits.items()}
    return fits["large"], fits["slope"]
