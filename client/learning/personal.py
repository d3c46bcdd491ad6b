"""Parameters that belong to a site alone.

``local_head``: the fusion head never leaves (FedPer, Arivazhagan et al. 2019, arXiv:1912.00818). ``local_norm``: the
affine parameters of the normalisation layers never leave (FedBN, Li et al., ICLR 2021; GroupNorm and LayerNorm keep
no running statistics). ``ditto``: the site trains a whole model v of its own beside the shared one, with
attraction/2 · ||v - w||² to the shared w it received (Li et al., ICML 2021, algorithm 1).

A site trains and evaluates with its own parameters in place of the received ones. The shared model that the server
saves still holds values there, but under ``local_head`` those of ``fusion.*``, and under ``local_norm`` those of the
normalisation layers, are the initial ones, which nobody trained: they mean nothing, and the saved file alone is no
model to predict with. Under ``ditto`` it is the ordinary shared model, evaluated nowhere.
"""

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedescc.client.state import Held, Place, SiteState
from fedescc.common.arrays import FlatParameters, parameter_layout
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.identity import received_weights
from fedescc.common.wire import Request
from fedescc.common.yamlfile import check_model

Kind = Literal["none", "ditto", "local_head", "local_norm"]

HEAD = "fusion."
_NORMS = (nn.GroupNorm, nn.LayerNorm)  # the models have no others: each sample is normalised by itself


def weights_here(state: SiteState, request: Request, model: nn.Module) -> FlatParameters:
    """The received parameters, (size,), with this site's own in their places where the run keeps any.

    A training request's round tells which of its own belong to them; any other request's weights do.

    Raises:
        Refusal: no weights, ``nothing-personal``, ``never-trained-here`` (evaluation of a model of which this site
            never trained its part), or what the state refuses.

    """
    received, kind = received_weights(request), personal_kind(request)
    if kind == "none":
        return received
    places = own_places(model, kind)
    held = _held(state, request, received)
    if held is None and kind != "ditto":
        raise Refusal("never-trained-here", f"{kind}, and this site has no own part", "train here, or use ditto")
    return received if held is None or held.values is None else with_own(received, places, held.values)


def personal_kind(request: Request) -> Kind:
    """What a request's shared model keeps at the site; a comparator's model, which is named, keeps nothing."""
    if request.task.get("model") is not None or "federation" not in request.task:
        return "none"
    federation = check_model(request.task["federation"], Federation, "the server's settings")
    return federation.personalisation.kind


def shared_digest(weights: FlatParameters) -> str:
    """By which a shared model is known in the site's state: 16 hex digits."""
    return hashlib.sha256(np.ascontiguousarray(weights).data).hexdigest()[:16]


def own_places(model: nn.Module, kind: Kind) -> NDArray[np.bool_]:
    """Which entries of the flat parameters are the site's own, (size,).

    Raises:
        Refusal: ``nothing-personal``, the model has no such part.

    """
    names = _own_names(model, kind)
    layout = parameter_layout(model)
    places = np.concatenate([np.full(int(np.prod(shape)), name in names) for name, shape in layout])
    if kind != "none" and not places.any():
        raise Refusal(
            "nothing-personal", f"this model has no part that {kind} could keep", "set personalisation.kind to ditto"
        )
    return places


def with_own(received: FlatParameters, places: NDArray[np.bool_], own: FlatParameters) -> FlatParameters:
    """The received parameters, (size,), with the site's own, (places.sum(),), in their places.

    Raises:
        Refusal: ``wrong-parameters``, they are not of one model.

    """
    if received.shape != places.shape or own.shape != (int(places.sum()),):
        raise Refusal("wrong-parameters", "received and own parameters are of different models", "start a new run")
    mixed = received.copy()
    mixed[places] = own
    return mixed


def _held(state: SiteState, request: Request, received: FlatParameters) -> Held | None:
    place, number = Place.of(request, "own"), request.task.get("round")
    if number is None:
        return state.of_model(place, shared_digest(received))
    return state.before(place, number)


def _own_names(model: nn.Module, kind: Kind) -> set[str]:
    match kind:
        case "none":
            return set()
        case "ditto":
            return {name for name, _ in model.named_parameters()}
        case "local_head":
            return {name for name, _ in model.named_parameters() if name.startswith(HEAD)}
        case "local_norm":
            norms = {name: module for name, module in model.named_modules() if isinstance(module, _NORMS)}
            return {f"{name}.{part}" for name, module in norms.items() for part, _ in module.named_parameters()}
