"""A training round as a site does it: from its state and the received model to its update and its next state."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedescc.client.learning.augment import Spacing
from fedescc.client.learning.control import next_control
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.personal import own_places, shared_digest
from fedescc.client.learning.pull import Pull
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import ISOTROPIC, TrainResult, train_round
from fedescc.client.state import Held, Place, Purpose, SiteState, Stamp
from fedescc.common.arrays import FlatParameters, flatten_parameters, load_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, proximal_weight
from fedescc.common.identity import received_weights
from fedescc.common.wire import Request

COUNTED = "counted"  # key of a task: site -> the last round whose reply went into the server's control


@dataclass(frozen=True, eq=False)
class SiteRound:
    """One round at one site.

    Attributes:
        site: its name.
        state: what it remembers; changed only when everything has been trained.
        request: run, fold, round and the shared weights, (size,), without a control.
        federation: the settings of the run.
        spacing_zyx_mm: of the grid.

    """

    site: str
    state: SiteState
    request: Request
    federation: Federation
    spacing_zyx_mm: Spacing = ISOTROPIC

    def train(
        self, model: nn.Module, tensors: SiteTensors, control: FlatParameters | None
    ) -> tuple[FlatParameters, TrainResult]:
        """The update that leaves, and what training it gave.

        Args:
            model: holding the parameters to start from: the received ones, with the site's own in their places.
            tensors: the site's training patients.
            control: SCAFFOLD's c, (size,), and the update then is (2 * size,): y - x and c_i⁺ - c_i; else None.

        Raises:
            Refusal: what training or the state refuses; then nothing has changed.

        """
        kind = self.federation.personalisation.kind
        places = own_places(model, kind)
        own = self._train_ditto(model, tensors) if kind == "ditto" else None
        stays = places & (kind != "ditto")
        if control is None:
            result = self._train(model, tensors, Pull(proximal_weight(self.federation.strategy)))
            update = np.where(stays, np.float32(0), result.delta)
        else:
            result, update = self._scaffold(model, tensors, control, stays)
        if kind != "none":
            self._keep("own", flatten_parameters(model)[places] if own is None else own, self._before("own"))
        return update, result

    def _train_ditto(self, model: nn.Module, tensors: SiteTensors) -> FlatParameters:
        """The site's own model after the round; ``model`` is left with the received parameters."""
        received = received_weights(self.request)
        attraction = Pull(self.federation.personalisation.attraction, received)
        self._train(model, tensors, attraction, purpose="/own")  # no site's name holds a slash
        own = flatten_parameters(model)
        load_parameters(model, received)
        return own

    def _scaffold(
        self, model: nn.Module, tensors: SiteTensors, server: FlatParameters, stays: NDArray[np.bool_]
    ) -> tuple[TrainResult, FlatParameters]:
        before = self._control_before()
        own = np.zeros(stays.shape, np.float32) if before.values is None else before.values
        if not server.shape == own.shape == stays.shape:
            raise Refusal("wrong-parameters", "control and model differ in size", "start a new run")
        result = self._train(model, tensors, Pull(constant=server - own))
        after = np.where(stays, own, next_control(own, server, result.delta, result.rates))
        self._keep("control", after, before)
        return result, np.concatenate([np.where(stays, np.float32(0), result.delta), after - own])

    def _train(self, model: nn.Module, tensors: SiteTensors, pull: Pull, purpose: str = "") -> TrainResult:
        return train_round(
            model,
            tensors,
            self.federation.training,
            Turn(self.federation.seed, self._number, self.federation.rounds, self.site + purpose),
            pull=pull,
            spacing_zyx_mm=self.spacing_zyx_mm,
        )

    @property
    def _number(self) -> int:
        return int(self.request.task["round"])

    def _before(self, purpose: Purpose) -> Held:
        return self.state.before(Place.of(self.request, purpose), self._number)

    def _control_before(self) -> Held:
        """c_i as the server counts it.

        The server's c is the mean of all c_i only if a reply that it never added (late, or lost) is forgotten here,
        too. So a server that says which replies it added decides; without that, the newest holds.
        """
        counted: Any = self.request.task.get(COUNTED)
        if counted is None:
            return self._before("control")
        number = counted.get(self.site, 0) if isinstance(counted, dict) else None
        if type(number) is not int or not 0 <= number < self._number:
            raise Refusal("malformed-message", "the counted rounds are no earlier rounds", "check the server")
        return self.state.left_by(Place.of(self.request, "control"), number)

    def _keep(self, purpose: Purpose, values: FlatParameters, since: Held) -> None:
        """Under ``selection.keep: best`` any round's model may be evaluated at the end, so all its parts are kept."""
        stamp = Stamp(self._number, shared_digest(received_weights(self.request)))
        every = purpose == "own" and self.federation.selection.keep == "best"
        self.state.keep(Place.of(self.request, purpose), stamp, values, since, all_rounds=every)
