"""One round of local training, and the validation of the model that the round started from."""

from fedescc.client.answers.evaluation import split_reply
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, proximal_weight
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import check_model

TOO_FEW = "too-few-training-patients"


def train(site: LocalSite, request: Request) -> Reply:
    """Evaluate the received model on the validation patients, then train it on the training patients.

    Raises:
        Refusal: ``too-few-training-patients``, or what training refuses.

    """
    from fedescc.client.learning.train import train_round

    federation = check_model(request.task["federation"], Federation, "the server's settings")
    patients = len(site.view(request).rows("train"))
    if patients < site.policy.min_class_count:
        raise Refusal(TOO_FEW, f"{patients} training patients", "an update of so few would speak of single patients")
    model, tensors, _ = site.prepared(request, "train")
    result = train_round(
        model,
        tensors,
        federation.training,
        seed=federation.seed,
        round=request.task["round"],
        rounds=federation.rounds,
        site=site.name,
        mu=proximal_weight(federation.strategy),
    )
    values, reasons = split_reply(site, request, "validation")
    sums: wire.Sums = {"n": patients, "updates": result.updates, "loss": result.loss}
    sums |= {f"validation_{key}": value for key, value in values.items()}
    codes = {f"validation_{key}": code for key, code in reasons.items()}
    return site.reply(sums, codes, delta=result.delta)
