"""Sites with quadratic losses behind a real ClientApp, for tests of the round loop; a test says what goes wrong."""

import dataclasses

import numpy as np
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedescc.common.federation import Federation
from fedescc.common.wire import Reply, Request, pack_reply, unpack_request
from fedescc.server.exchange import Roster
from fedescc.server.training.rounds import Rounds
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

STUDY = "study"
START = np.array([4.0, -4.0, 1.0], np.float32)


class RoundSites:
    """Site i of n pulls weight j towards ``targets[i, j]``; its validation log loss is the squared distance to them.

    Attributes:
        changes: (site, round) -> what it does to its reply, or raises; round 0 is the validation after the last one.
        mute: (site, round) pairs without validation sums.
        seen: (message's round, site) in the order in which sites ran.
        runs: run ids that sites were told.

    """

    def __init__(self, sites=4, seed=0):
        rng = np.random.default_rng(seed)
        self.targets = rng.standard_normal((sites, len(START))).astype(np.float32)
        self.patients = {f"site-{i}": 10 * (i + 1) for i in range(sites)}
        self.changes, self.mute, self.seen, self.runs = {}, set(), [], set()
        self.overshoot = {}  # round -> factor on every update, to make a model bad
        self._controls = {}
        self.app = ClientApp()
        self.app.train()(self._train)
        self.app.evaluate("validation")(self._validate)

    def rounds(self, grid, patients=None, task=None, save=None, **settings):
        task = {"edges": [0.0], "threshold": 0.0} | (task or {})
        known = self.patients if patients is None else patients
        more = {} if save is None else {"save": save}
        return Rounds(grid, Roster(), federation(**settings), Request(STUDY, task), known, **more)

    def run(self, shuffle=None, resume=None, on_round=lambda record, state: None, **settings):
        ends = []
        grid = LocalGrid(self.app, [{}] * len(self.patients), {}, shuffle)

        def serve(grid, context):
            ends.append(self.rounds(grid, **settings).run(START.copy(), on_round, resume))

        run_in_process(serve, grid, {})
        return ends[0]

    def _train(self, message, context):
        request, site, name = self._open(message, context)
        number = request.task["round"]
        scaffold = request.task.get("scaffold", False)
        x = request.weights[: len(START)].astype(np.float64)
        delta = 0.25 * (self.targets[site] - x) * self.overshoot.get(number, 1.0)
        if scaffold:
            delta = np.concatenate([delta, self._control(site, number, x, request.weights[len(START) :])])
        sums = {"n": self.patients[name], "loss": float(((self.targets[site] - x) ** 2).sum())}
        sums |= {f"validation_{key}": value for key, value in self._sums(site, name, number, x).items()}
        return self._send(Reply(name, STUDY, sums, delta.astype(np.float32)), number, message)

    def _validate(self, message, context):
        request, site, name = self._open(message, context)
        return self._send(Reply(name, STUDY, self._sums(site, name, 0, request.weights)), 0, message)

    def _open(self, message, context):
        request = unpack_request(message.content)
        site = context.node_id - 100
        self.seen.append((request.task.get("round", 0), site))
        self.runs.add(request.task["run"])
        return request, site, f"site-{site}"

    def _control(self, site, number, x, c):
        """The change of a control that is kept by round, as a site must keep it to be asked for a round again."""
        before = self._controls.get((site, number - 1), np.zeros(len(START)))
        new = before - c + 0.1 * (x - self.targets[site])
        self._controls[site, number] = new
        return new - before

    def _sums(self, site, name, number, x):
        if (name, number) in self.mute:
            return {}
        n = self.patients[name]
        loss = float(n * ((self.targets[site] - x) ** 2).mean())
        counts = {"n": n, "n_pos": 5, "tp": 3, "fn": 2, "fp": 1, "tn": n - 6, "brier_sum": 1.0, "log_loss_sum": loss}
        return counts | {"negatives": [n - 6, 1], "positives": [2, 3]}

    def _send(self, reply, number, message):
        change = self.changes.get((reply.site, number))
        return Message(pack_reply(change(reply) if change else reply), reply_to=message)


def federation(**settings):
    if settings.get("strategy", {}).get("name") == "scaffold":
        settings["training"] = {"optimizer": "sgd"}
    return Federation.model_validate({"rounds": 4} | settings)


def delta_of(change):
    """A change of a reply's update."""
    return lambda reply: dataclasses.replace(reply, delta=change(reply.delta.copy()))


def sums_of(**changes):
    """A change of a reply's numbers."""
    return lambda reply: dataclasses.replace(reply, sums=reply.sums | changes)


def at(place, value):
    """An update with one value replaced."""

    def change(delta):
        delta[place] = value
        return delta

    return change
