"""One round of local training, and the validation of the model that the round started from."""

from dataclasses import replace

from fedescc.client.answers.evaluation import split_reply
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.arrays import FlatParameters
from fedescc.common.disclosure.cells import too_few
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.identity import received_weights
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import check_model

TOO_FEW = "too-few-training-patients"


def train(site: LocalSite, request: Request) -> Reply:
    """Evaluate the received model on the validation patients, then train it on the training patients.

    What the site must remember is kept before the reply leaves; the same request again gets the same reply.

    Raises:
        Refusal: ``too-few-training-patients``, or what training or the site's state refuses.

    """
    from fedescc.client.learning.site_round import SiteRound
    from fedescc.client.learning.train import ISOTROPIC

    federation = check_model(request.task["federation"], Federation, "the server's settings")
    _require_round(request, federation.rounds)
    patients = len(site.view(request).rows("train"))
    if too_few(patients, site.policy.min_class_count):
        raise Refusal(TOO_FEW, f"{patients} training patients", "an update of so few would speak of single patients")
    shared, control = _shared_and_control(request, federation)
    values, reasons = split_reply(site, shared, "validation")
    model, tensors, _ = site.prepared(shared, "train")
    spacing = site.study.imaging.grid.spacing_zyx_mm if site.study.imaging else ISOTROPIC
    work = SiteRound(site.name, site.state, shared, federation, spacing)
    update, result = work.train(model, tensors, control)
    sums: wire.Sums = {"n": patients, "updates": result.updates, "loss": result.loss}
    sums |= {f"validation_{key}": value for key, value in values.items()}
    codes = {f"validation_{key}": code for key, code in reasons.items()}
    return site.reply(sums, codes, delta=update)


def _require_round(request: Request, rounds: int) -> None:
    number = request.task.get("round")
    if type(number) is not int or not 1 <= number <= rounds:
        raise Refusal("malformed-message", f"the request names no round of {rounds}", "check the server's version")


def _shared_and_control(request: Request, federation: Federation) -> tuple[Request, FlatParameters | None]:
    """The request with the shared weights alone, and the control that SCAFFOLD's server sends behind them."""
    from fedescc.client.learning.control import split_control

    if federation.strategy.name != "scaffold":
        return request, None
    weights, control = split_control(received_weights(request))
    return replace(request, weights=weights), control
