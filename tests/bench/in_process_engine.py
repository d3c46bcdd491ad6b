"""Whole-process time of 3 sites x 3 rounds of a 5 MB model with trivial training, in the in-process engine.

Peer: Flower's Ray simulation of the same work took 15.5 s, a plain in-process prototype 1.1 s (2 cores, Python 3.11).
Run: python tests/bench/in_process_engine.py
"""

import subprocess
import sys
import time

SITES, ROUNDS, PARAMETERS = 3, 3, 1_310_720  # 5 MiB of float32
REPEATS = 5

PROGRAM = f"""
import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from fedescc.common.federation import Federation
from fedescc.common.wire import Reply, Request, pack_reply, unpack_request
from fedescc.server.exchange import Roster
from fedescc.server.training.rounds import Rounds
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

app = ClientApp()

@app.train()
def train(message, context):
    request = unpack_request(message.content)
    step = np.full_like(request.weights, context.node_id * 1e-3)
    reply = Reply(f"site-{{context.node_id}}", request.study_sha256, {{"n": 10, "loss": 1.0}}, delta=step)
    return Message(pack_reply(reply), reply_to=message)

weights = {{}}

def serve(grid, context):
    federation = Federation(rounds={ROUNDS})
    start = np.zeros({PARAMETERS}, dtype=np.float32)
    state = Rounds(grid, Roster(), federation, Request("bench")).run(start, lambda record, state: None)
    weights["end"] = state.weights

run_in_process(serve, LocalGrid(app, [{{}}] * {SITES}, {{}}), {{}})
assert abs(float(weights["end"][0]) - {ROUNDS} * 0.101) < 1e-5, weights["end"][0]
"""


def main() -> None:
    """Print the seconds of each repeat and their median."""
    seconds = sorted(_once() for _ in range(REPEATS))
    size = PARAMETERS * 4 / 2**20
    print(f"in-process engine, {SITES} sites x {ROUNDS} rounds, {size:.0f} MB model, whole process:")  # noqa: T201
    print(f"  median {seconds[REPEATS // 2]:.2f} s  (min {seconds[0]:.2f}, max {seconds[-1]:.2f}; goal <= 2 s)")  # noqa: T201


def _once() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
