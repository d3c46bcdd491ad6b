"""In-process engine: the same ServerApp and ClientApp, in one process, without sockets or Ray.

Every message is serialised and read back as on the wire, so that sites can neither share nor change one object.
A site runs when its answer is pulled, one at a time: memory holds one reply, and results do not depend on threads.
Beside `ray_engine`, the only place in simulations that uses Flower internals (flwr 1.41).
"""

import itertools
import random
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

_SERVER_NODE = 1
FIRST_SITE_NODE = 100
_CLIENT_APP_FAILED = 2

RunConfig = Mapping[str, str | int | float | bool]


class LocalGrid(Grid):
    """A Flower grid whose nodes are ClientApp calls in this process.

    Args:
        client_app: the app every site runs.
        sites: node configuration of each site; site ``i`` gets node id ``100 + i``.
        run_config: what the coordinator submits with the run.
        shuffle: None answers in the order of the requests; a seed answers in a random order.

    """

    def __init__(
        self,
        client_app: ClientApp,
        sites: Iterable[RunConfig],
        run_config: RunConfig,
        shuffle: int | None = None,
    ) -> None:
        self._app = client_app
        self._run = Run.create_empty(run_id=1)
        self._contexts = {
            node: Context(self._run.run_id, node, dict(config), RecordDict(), dict(run_config))
            for node, config in enumerate(sites, start=FIRST_SITE_NODE)
        }
        self._pending: dict[str, Message] = {}
        self._ids = (f"message-{number}" for number in itertools.count())
        self._order = None if shuffle is None else random.Random(shuffle)  # noqa: S311 - order of answers, no secret

    def set_run(self, run: Run) -> None:
        """Set the run; part of Flower's interface."""
        self._run = run

    @property
    def run(self) -> Run:
        """The one run of this grid."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message; part of Flower's interface."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Node ids of all sites."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; a site runs when its answer is pulled."""
        return [self._queue(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answer of one waiting site at a time, so that its reply is folded before the next one runs."""
        waiting = [identity for identity in self._pending if identity in set(message_ids)]
        if not waiting:
            return []
        identity = self._order.choice(waiting) if self._order else waiting[0]
        reply = self._answer(self._pending.pop(identity))
        reply.metadata.__dict__["_message_id"] = next(self._ids)
        return [reply]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """All answers, in order of arrival; a local site always answers, so ``timeout`` is not needed."""
        del timeout
        waiting = set(self.push_messages(messages))
        replies: list[Message] = []
        while waiting:
            batch = list(self.pull_messages(waiting))
            replies += batch
            waiting -= {reply.metadata.reply_to_message_id for reply in batch}
        return replies

    def _queue(self, message: Message) -> str:
        identity = next(self._ids)
        message.metadata.__dict__["_message_id"] = identity
        self._pending[identity] = message
        return identity

    def _answer(self, message: Message) -> Message:
        context = self._contexts[message.metadata.dst_node_id]
        try:
            return over_the_wire(self._app(over_the_wire(message), context))
        except Exception:  # noqa: BLE001 - as the SuperNode: a failing site is an error reply, never a dead server
            return Message(Error(_CLIENT_APP_FAILED, "client-app-failed"), reply_to=message)


def over_the_wire(message: Message) -> Message:
    """Serialise a message as Flower's transport does and read it back."""
    if message.has_error():
        return message
    contents = {key: item.deflate() for key, item in get_all_nested_objects(message).items()}
    copy = inflate_object_from_contents(message.object_id, contents)
    if not isinstance(copy, Message):
        msg = f"a {type(copy).__name__} came back from the wire"
        raise TypeError(msg)
    copy.metadata.__dict__["_message_id"] = message.metadata.message_id
    return copy


def run_in_process(
    server_app: ServerApp | Callable[[Grid, Context], None], grid: LocalGrid, run_config: RunConfig
) -> None:
    """Run a ServerApp over a `LocalGrid`; its exceptions reach the caller."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, grid.run.run_id, _SERVER_NODE
    context = Context(grid.run.run_id, _SERVER_NODE, {}, RecordDict(), dict(run_config))
    server_app(grid, context)
