"""How a roll-out goes: from offer to stable, back at any moment, and when health lets it widen. Pure."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from tidegate.errors import TakenError
from tidegate.ids import SiteId
from tidegate.limits import ROLLOUT_BUNDLES_MAX, ROLLOUT_REFUSED_PARTS, ROLLOUT_SITES_MAX
from tidegate.rollout import (
    Assignments,
    BundleName,
    Canaries,
    Change,
    Freeze,
    Offer,
    Pin,
    Promote,
    Report,
    Ring,
    RollBack,
    Thaw,
    Unpin,
)

_NEXT: Final = {Ring.CANARY: Ring.QUARTER, Ring.QUARTER: Ring.ALL}


class CourseError(TakenError):
    """A change that doesn't follow from how things stand: nothing was changed."""

    code = "ROLLOUT_REFUSED"


class Course(BaseModel):
    """How things stand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assignments: Assignments = Assignments()
    previous: BundleName | None = None
    frozen: bool = False

    def bundles(self) -> frozenset[str]:
        """Return the bundles that some site may need."""
        said = self.assignments
        named = {said.stable, said.candidate, self.previous, *said.pins.values()}
        return frozenset(name for name in named if name is not None)

    def with_(self, **said: object) -> "Course":
        """Return it with other assignments."""
        return self.model_copy(update={"assignments": self.assignments.model_copy(update=said)})


class Health(NamedTuple):
    """What sites within the ring said of the candidate."""

    active: frozenset[str]
    refused: frozenset[str]

    @property
    def bad(self) -> bool:
        """Whether so many refuse that it is the bundle and not a machine: any one, where there are few."""
        return len(self.refused) * ROLLOUT_REFUSED_PARTS > len(self.refused) + len(self.active)


def health_of(course: Course, reports: Mapping[str, Report]) -> Health:
    """Return what the sites that the candidate has reached say of it."""
    said = course.assignments
    told = {
        site: report.state
        for site, report in reports.items()
        if report.bundle == said.candidate and site not in said.pins and said.reaches(SiteId(site))
    }
    return Health(*(frozenset(site for site, state in told.items() if state == of) for of in ("active", "refused")))


def changed(course: Course, change: Change, health: Health) -> Course:
    """Return how things stand after a change.

    Raises:
        CourseError: it doesn't follow; says what to do first.
    """
    after = _after(change, course, health)
    if len(after.bundles()) > ROLLOUT_BUNDLES_MAX or len(after.assignments.pins) > ROLLOUT_SITES_MAX:
        raise CourseError(f"pins: at most {ROLLOUT_SITES_MAX}, and {ROLLOUT_BUNDLES_MAX} bundles in use; unpin some")
    return after


def _need_thawed(course: Course) -> None:
    if course.frozen:
        raise CourseError("frozen: nothing new rolls out; thaw first, or go back")


@singledispatch
def _after(change: Change, course: Course, health: Health) -> Course:
    raise TypeError(f"{change}, {course}, {health}: no change")  # a new one without its rule


@_after.register
def _(change: Offer, course: Course, _health: Health) -> Course:
    _need_thawed(course)
    said = course.assignments
    if said.candidate not in {None, change.bundle}:
        raise CourseError(f"bundle: {said.candidate} is being rolled out; promote it to the end, or roll it back")
    if change.bundle == said.stable:
        raise CourseError(f"bundle: {change.bundle} is the stable one already")
    if not said.canaries:
        raise CourseError("canaries: there are none; name the sites that are first")
    return course if said.candidate else course.with_(candidate=change.bundle, ring=Ring.CANARY)


@_after.register
def _(change: Promote, course: Course, health: Health) -> Course:
    _need_thawed(course)
    said = course.assignments
    if said.candidate is None:
        raise CourseError("candidate: there is none; offer a bundle")
    if not change.override:
        _need_health(said, health)
    if said.ring in _NEXT:
        return course.with_(ring=_NEXT[said.ring])
    done = course.with_(stable=said.candidate, candidate=None, ring=Ring.CANARY)
    return done.model_copy(update={"previous": said.stable})


def _need_health(said: Assignments, health: Health) -> None:
    if health.bad:
        raise CourseError(f"health: it failed at {', '.join(sorted(health.refused)[:5])}; roll it back")
    waiting = {site for site in said.canaries if site not in said.pins} - health.active
    if waiting or not health.active:
        told = ", ".join(sorted(waiting)[:5]) or "any site"
        raise CourseError(f"health: not active yet at {told}; wait, or override and say why")


@_after.register
def _(_change: RollBack, course: Course, _health: Health) -> Course:
    if course.assignments.candidate is not None:
        return course.with_(candidate=None, ring=Ring.CANARY)
    if course.previous is None:
        raise CourseError("stable: there is none before it to go back to")
    return course.with_(stable=course.previous).model_copy(update={"previous": None})


@_after.register
def _(change: Pin, course: Course, _health: Health) -> Course:
    return course.with_(pins={**course.assignments.pins, change.site: change.bundle})


@_after.register
def _(change: Unpin, course: Course, _health: Health) -> Course:
    if change.site not in course.assignments.pins:
        raise CourseError(f"site: {change.site} has no pin")
    return course.with_(pins={site: name for site, name in course.assignments.pins.items() if site != change.site})


@_after.register
def _(change: Canaries, course: Course, _health: Health) -> Course:
    return course.with_(canaries=change.sites)


@_after.register
def _(_change: Freeze, course: Course, _health: Health) -> Course:
    return course.model_copy(update={"frozen": True})


@_after.register
def _(_change: Thaw, course: Course, _health: Health) -> Course:
    return course.model_copy(update={"frozen": False})
