"""One sender's visit: what came of its objects, in counts and never in names."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from fedescc.client.receiving.inbox import Inbox
from fedescc.client.receiving.options import Options
from fedescc.client.receiving.spool import Spool, os_fault
from fedescc.common.errors import Refusal

# Status of a C-STORE response (PS3.4 B.2.3, PS3.7 9.1.1.1.9); the reason's code goes along as Error Comment.
SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124
_CANNOT_UNDERSTAND = 0xC000
_STATUS = {
    "disk_full": 0xA700,
    "write_failed": 0xA700,
    "too_large": 0xA700,
    "stopping": 0xA700,
    "sop_class_mismatch": 0xA900,
    "uid_mismatch": 0xA900,
    "not_admitted": NOT_AUTHORISED,
}


@dataclass
class Totals:
    """Objects by what became of them; ``refused`` by reason, ``bytes`` of data sets that were kept."""

    received: int = 0
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    echoes: int = 0
    bytes: int = 0

    def add(self, other: "Totals") -> None:
        """Count another visit in."""
        self.received += other.received
        self.duplicates += other.duplicates
        self.refused += other.refused
        self.echoes += other.echoes
        self.bytes += other.bytes

    def __str__(self) -> str:
        """In words, as in the log."""
        reasons = ", ".join(f"{code} {count}" for code, count in sorted(self.refused.items()))
        refused = f"{self.refused.total()} refused" + (f" ({reasons})" if reasons else "")
        echoes = f", {self.echoes} echoes" if self.echoes else ""
        return f"{self.received} received, {self.duplicates} duplicates, {refused}{echoes}, {self.bytes / 1e6:.1f} MB"


class Session:
    """One association, from its first byte to its log line.

    Attributes:
        address: the sender's IP address.
        ae_title: its AE title, once it has said it.
        admitted: whether it is one that may send.
        busy: a message is arriving or being answered.
        late: a message began to arrive when the receiver was already stopping.

    """

    def __init__(self, address: str, inbox: Inbox, options: Options, stopping: Callable[[], bool]) -> None:
        self.address = address
        self.ae_title = ""
        self.admitted = self.busy = self.late = False
        self.totals = Totals()
        self._started = time.monotonic()
        self._inbox = inbox
        self._allow = options.allow
        self._stopping = stopping
        self._spools: set[Spool] = set()

    def admit(self, ae_title: str) -> bool:
        """Whether a caller of this title at this address may send; with nobody listed, everybody may."""
        self.ae_title = ae_title.strip().encode("unicode_escape").decode()  # it is logged; a line stays one line
        self.admitted = not self._allow or any(peer.admits(ae_title, self.address) for peer in self._allow)
        return self.admitted

    def begin(self, head: Callable[[], bytes]) -> Spool:
        """A place for a message's data set, as its first fragment arrives."""
        self.busy = True
        self.late = self.late or self._stopping()
        fault = "stopping" if self.late else "" if self.admitted else "not_admitted"
        spool = self._inbox.spool(head, fault)
        self._spools.add(spool)
        return spool

    def store(self, spool: Spool, sop_class: str, sop_uid: str) -> tuple[int, str]:
        """Keep a data set that is complete.

        Returns:
            DICOM status, and the reason code where it is a failure.

        """
        try:
            verdict = self._inbox.take(spool, sop_class, sop_uid)
        except Refusal as refusal:
            return self._refuse(refusal.code)
        except OSError as error:
            return self._refuse(os_fault(error))
        finally:
            self.drop(spool)
        if verdict == "duplicate":
            self.totals.duplicates += 1
        else:
            self.totals.received += 1
            self.totals.bytes += spool.size
        return SUCCESS, ""

    def drop(self, spool: Spool) -> None:
        """Forget a data set that is stored, refused or no data set of a C-STORE."""
        spool.discard()
        self._spools.discard(spool)

    def close(self, outcome: str) -> str:
        """End the visit: remove what is half written, and give the log line."""
        for spool in tuple(self._spools):
            self.drop(spool)
        sender = f"{self.ae_title or 'nobody'}@{self.address}"
        return f"{sender}: {self.totals} in {time.monotonic() - self._started:.1f} s, {outcome}"

    def _refuse(self, code: str) -> tuple[int, str]:
        self.totals.refused[code] += 1
        return _STATUS.get(code, _CANNOT_UNDERSTAND), code
