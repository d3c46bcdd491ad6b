"""One exchange: the same request to every site, replies handed on as they arrive, until a deadline."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from fedescc.common.errors import Refusal
from fedescc.common.fold import HELD_OUT, excused
from fedescc.common.names import CODE
from fedescc.common.schema import check_reply
from fedescc.common.wire import OF_TEST_PATIENTS, Reply, Request, pack_request, unpack_reply

_POLL_SECONDS = 0.05
_UNNAMED = "unnamed-"  # before a node's id

Accept = Callable[[Reply], None]


@dataclass
class Attendance:
    """Who took part in an exchange. Sites that fail before naming themselves are counted under ``unnamed``.

    ``excused`` are sites that the fold asks nothing of; they count as neither invited nor refused.
    """

    registered: int
    invited: int
    answered: int = 0
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    excused: list[str] = field(default_factory=list)


@dataclass
class Roster:
    """Names of the sites behind Flower's node ids, learned from their first accepted reply."""

    names: dict[int, str] = field(default_factory=dict)

    def name(self, node: int) -> str:
        """The site's name, or a placeholder for one that has not answered yet."""
        return self.names.get(node, f"{_UNNAMED}{node}")

    def learn(self, node: int, name: str) -> None:
        """Bind a node to the name it gave.

        Raises:
            Refusal: the node changes its name, another node already has it, or it is one of those given to nodes that
                have not answered.

        """
        if name.startswith(_UNNAMED):
            raise Refusal("site-name-conflict", "a site is called like an unnamed one", "give it a name of its own")
        if self.names.get(node, name) != name or any(n != node and s == name for n, s in self.names.items()):
            raise Refusal("site-name-conflict", "two nodes answer under one site name", "give each site its own name")
        self.names[node] = name


def exchange(
    grid: Grid,
    roster: Roster,
    message_type: str,
    request: Request,
    *,
    deadline_seconds: float,
    accept: Accept,
) -> Attendance:
    """Send ``request`` to every registered site and pass each good reply to ``accept``, in order of arrival.

    A reply that is an error, malformed, under another study or refused by ``accept`` counts against that site alone.
    A node has one reply: what it or a stranger sends beside it is passed over. Replies that have arrived are taken even
    when taking them outlasts the deadline.
    """
    nodes = sorted(grid.get_node_ids())
    attendance = Attendance(registered=len(nodes), invited=len(nodes))
    records = pack_request(request)
    messages = [Message(records, node, message_type, ttl=deadline_seconds) for node in nodes]
    waiting, silent = set(grid.push_messages(messages)), set(nodes)
    end = time.monotonic() + deadline_seconds
    while waiting:
        replies = list(grid.pull_messages(waiting))
        for reply in replies:
            waiting.discard(reply.metadata.reply_to_message_id)
            if (node := reply.metadata.src_node_id) not in silent:
                continue
            silent.discard(node)
            attendance.answered += 1
            _take(reply, message_type, request, roster, accept, attendance)
        if waiting and not replies:
            if time.monotonic() >= end:
                break
            time.sleep(_POLL_SECONDS)
    attendance.refused |= {roster.name(node): "no-answer-in-time" for node in sorted(silent)}
    attendance.accepted.sort()
    return attendance


def _take(
    reply: Message, message_type: str, request: Request, roster: Roster, accept: Accept, attendance: Attendance
) -> None:
    node = reply.metadata.src_node_id
    if reply.has_error():
        code = _error_code(reply.error.reason)
        if _is_excused(code, roster.names.get(node), message_type, request):
            attendance.excused.append(roster.name(node))
            attendance.invited -= 1
        else:
            attendance.refused[roster.name(node)] = code
        return
    try:
        content = unpack_reply(reply.content, None if request.weights is None else len(request.weights))
        check_reply(message_type, content)
        if content.study_sha256 != request.study_sha256:
            raise Refusal("study-mismatch", "the site follows another study", "distribute the same study file")
        roster.learn(node, content.site)
        accept(content)
    except Refusal as refusal:
        attendance.refused[roster.name(node)] = refusal.code
    except Exception:  # noqa: BLE001 - whatever a site sends, the other sites go on
        attendance.refused[roster.name(node)] = "malformed-message"
    else:
        attendance.accepted.append(content.site)


def _is_excused(code: str, site: str | None, message_type: str, request: Request) -> bool:
    """Whether a site keeps to the fold; one that will not train because it is not held out is lost, not excused."""
    fits = (code == HELD_OUT) != (message_type in OF_TEST_PATIENTS)
    return fits and excused(code, site, request.task)


def _error_code(reason: str | None) -> str:
    """A site's error as a code; anything that does not look like one is not repeated (it may quote data)."""
    text = reason or ""
    return text if CODE.fullmatch(text) else "site-error"
