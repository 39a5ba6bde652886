"""Which texts the cloud lacks of those that records name: each is offered, and what is wanted of it goes part by part.

The cloud alone knows what it has; it is asked for each text when the uplink begins, and once a day.
"""

from dataclasses import dataclass, field

from actors.uplink.ports import Texts
from tidegate.artifacts import KINDS, OFFER, ArtifactAnswer, Part, Whole, artifact_name
from tidegate.frames import FrameError, Signer
from tidegate.ids import SiteId
from tidegate.limits import ARTIFACT_AGAIN_US, ARTIFACT_HELD_US


@dataclass(slots=True)
class _Sending:
    """The text that is being sent, and the part that the cloud wants next."""

    name: str
    whole: Whole
    part: int = OFFER


@dataclass(slots=True)
class Offers:
    """What is to be offered and sent of a site's texts; for one thread. `trouble`: why one of them isn't taken."""

    site: SiteId
    texts: Texts
    trouble: str = ""
    _again: dict[str, int] = field(default_factory=dict)
    """When a text that is there, or wasn't wanted, is offered again."""
    _waiting: list[str] = field(default_factory=list)
    _sending: _Sending | None = None

    @property
    def waiting(self) -> int:
        """How many texts are to be offered or sent yet."""
        return len(self._waiting) + (self._sending is not None)

    def look(self, now_us: int) -> None:
        """Look which texts there are, and which of them are to be offered."""
        there = set(self.texts.names())
        self._again = {name: again_us for name, again_us in self._again.items() if name in there}
        if self._sending is not None:  # it is read whole: the rest goes up, though its file may have gone
            there.discard(self._sending.name)
        self._waiting = sorted(name for name in there if self._again.get(name, now_us) <= now_us)

    def next(self, signer: Signer, now_us: int) -> Part | None:
        """Return what is to be sent next; None: nothing is."""
        while self._sending is not None or self._waiting:
            sending = self._sending or self._begun(self._waiting.pop(0), now_us)
            if sending is None:
                continue
            self._sending = sending
            try:
                return sending.whole.part(sending.part, self.site, signer)
            except FrameError as error:
                self._settle(sending.name, now_us, error.message)
        return None

    def answered(self, answer: ArtifactAnswer, now_us: int) -> None:
        """Take what the cloud said to what was sent last."""
        sending = self._sending
        if sending is None:
            return
        if answer.reason:
            self._settle(sending.name, now_us, f"{answer.reason}: {answer.message}")
        elif answer.next_part is None:
            self._settle(sending.name, now_us)
        elif answer.next_part > sending.whole.parts:
            self._settle(sending.name, now_us, f"the cloud wants part {answer.next_part} of {sending.whole.parts}")
        else:
            sending.part = answer.next_part

    def unknown(self, now_us: int) -> None:
        """Take note that this cloud is too old to take texts: all of them are offered again later."""
        names = [*self._waiting, *([self._sending.name] if self._sending else [])]
        self._again |= dict.fromkeys(names, now_us + ARTIFACT_HELD_US)
        self._waiting, self._sending = [], None

    def _begun(self, name: str, now_us: int) -> _Sending | None:
        kind, text = KINDS.get(name[:1]), self.texts.read(name)
        if kind is None or not text:
            self._settle(name, now_us, "isn't kept any more")
            return None
        whole = Whole(kind, text)
        if artifact_name(kind, whole.sha256) != name:
            self._settle(name, now_us, "damaged: its digest isn't the one that names it")
            return None
        return _Sending(name, whole)

    def _settle(self, name: str, now_us: int, trouble: str = "") -> None:
        """Be done with a text for now: for a day where the cloud has it, for less where it wasn't sent."""
        self.trouble = f"{name}: {trouble}" if trouble else ""
        self._again[name] = now_us + (ARTIFACT_HELD_US if trouble else ARTIFACT_AGAIN_US)
        self._sending = None
