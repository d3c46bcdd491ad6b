"""One round of self-supervised pretraining on the fold's training and validation patients; no label is read.

The reply counts training patients alone, a number that is known already: one that counted scans or validation patients
would, less what other replies say, tell how few lack a scan or validate. The number of updates stays for that reason.
"""

from fedescc.client.answers.training import TOO_FEW
from fedescc.client.local_site import LocalSite
from fedescc.common.arrays import load_parameters
from fedescc.common.disclosure.cells import too_few
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.identity import received_weights
from fedescc.common.tabular.received import received_encoding
from fedescc.common.wire import Reply, Request
from fedescc.common.yamlfile import check_model


def pretrain(site: LocalSite, request: Request) -> Reply:
    """Train the received encoder and pretext head on this site's scans.

    Raises:
        Refusal: ``pretraining-without-images``, ``too-few-training-patients``, weights that do not fit, or what
            pretraining refuses.

    """
    from fedescc.client.learning.pretrain import Scans, pretrain_round
    from fedescc.common.network.pretext import build_pretext

    federation = check_model(request.task["federation"], Federation, "the server's settings")
    model = build_pretext(site.study, seed=0)  # every weight is overwritten next
    load_parameters(model, received_weights(request))
    encoding = received_encoding(request.task, site.study)
    cohort = site.view(request)
    scans, patients = Scans.from_cohort(cohort, encoding), len(cohort.rows("train"))
    if too_few(fewest := min(scans.patients, patients), site.policy.min_class_count):
        raise Refusal(TOO_FEW, f"{fewest} patients", "an update of so few would speak of single patients")
    assert site.study.imaging is not None  # build_pretext refuses a study without images
    number, grid = _round_number(request, federation), site.study.imaging.grid
    result = pretrain_round(model, scans, grid, federation, round=number, site=site.name)
    return site.reply({"n": patients, "loss": result.loss}, delta=result.delta)


def _round_number(request: Request, federation: Federation) -> int:
    number = request.task.get("round")
    if type(number) is not int or not 1 <= number <= federation.pretraining.rounds:
        raise Refusal("malformed-message", "the request names no round of pretraining", "check the server's version")
    return number
