"""What the registry does: takes in bundles, changes the roll-out, hears reports, and has the catalogue say so.

The book is what is wanted, the catalogue what is said: after each change and at each look the second is made to follow
the first, so a crash between them is made good.
"""

import json
import threading
from collections.abc import Iterator
from typing import Final

from serve_apps.models.course import Course, Health, changed, health_of
from serve_apps.models.ports import ArtifactError, Artifacts, Book, Done, Entry, Told
from serve_apps.models.publisher import Publisher
from tidegate.bundle import MANIFEST, Manifest, check_admitted, decode
from tidegate.clock import Clock, rfc3339
from tidegate.errors import BundleError, FieldError, InvalidError, NotFoundError, TakenError
from tidegate.limits import MODEL_BUNDLES_MAX, MODEL_LIST_MAX, ROLLOUT_SITES_REPORTING_MAX, ROLLOUT_WHY_MAX
from tidegate.rollout import (
    ASSIGNMENTS,
    BundleAnswer,
    BundlesAnswer,
    CatalogueAnswer,
    Change,
    ChangeAnswer,
    ChangesAnswer,
    CourseAnswer,
    FileBody,
    NewBundle,
    Offer,
    Pin,
    Report,
    ReportAnswer,
    ReportsAnswer,
    RoleAnswer,
    RollBack,
    Rotation,
)
from tidegate.trust import DELEGATED, TOP, Catalogue, Target

_HEALTH: Final = "health"
"""Who takes back what fails at sites."""
_MODELS: Final = "models/"


class RefusedError(InvalidError):
    """A bundle that isn't whole, or not admitted."""

    code = BundleError.code


class Service:
    """The registry; safe for threads."""

    def __init__(self, *, book: Book, artifacts: Artifacts, publisher: Publisher, clock: Clock) -> None:
        self._book, self._artifacts, self._publisher, self._clock = book, artifacts, publisher, clock
        self._turn = threading.Lock()
        self._told = book.reports()

    def start(self) -> None:
        """Have a catalogue, and have it say what is wanted."""
        with self._turn:
            self._publisher.establish(self._clock.now_us())
            self._settle()

    def tick(self) -> None:
        """Sign anew what ends soon, and say again what a crash kept from being said."""
        with self._turn:
            self._publisher.renew(self._clock.now_us())
            self._settle()

    def add(self, said: NewBundle, by: str) -> BundleAnswer:
        """Take in a bundle whose files are artifacts; one that is there already stays as it is.

        Raises:
            RefusedError: it isn't whole, or its gate failed without an override.
            NotFoundError: a file isn't there.
            TakenError: there are as many bundles as there may be.
        """
        files = {name: Target(file.sha256, file.bytes) for name, file in said.files.items()}
        data = {name: self._whole(name, target) for name, target in files.items()}
        try:
            bundle = decode(data)
            check_admitted(bundle.manifest)
        except BundleError as error:
            raise RefusedError(error.message) from error
        with self._turn:
            if self._book.entry(bundle.id) is None and self._book.count() >= MODEL_BUNDLES_MAX:
                raise TakenError(f"bundles: {MODEL_BUNDLES_MAX} are kept and no more; begin a new registry")
            self._book.add(Entry(bundle.id, self._clock.now_us(), by, data[MANIFEST], files))
        return self.bundle(bundle.id)

    def bundle(self, bundle: str) -> BundleAnswer:
        """Return a bundle.

        Raises:
            NotFoundError: there is none of that id.
        """
        return _bundle_answer(self._entry("bundle", bundle))

    def bundles(self) -> BundlesAnswer:
        """Return the newest bundles."""
        return BundlesAnswer(data=[_bundle_answer(entry) for entry in self._book.entries(MODEL_LIST_MAX)])

    def change(self, change: Change, by: str) -> CourseAnswer:
        """Make a change.

        Raises:
            NotFoundError: its bundle isn't in the registry.
            CourseError: it doesn't follow from how things stand.
        """
        with self._turn:
            if isinstance(change, Offer | Pin):
                self._entry("bundle", change.bundle)
            self._change(change, by)
            return self._answer()

    def rotate(self, role: str, rotation: Rotation, by: str) -> CatalogueAnswer:
        """Give a role of the catalogue new keys, and revoke those it has.

        Raises:
            NotFoundError: there is no such role.
        """
        if role not in {*TOP, *DELEGATED}:
            raise NotFoundError(f"role: there is no {role!r}; there are {', '.join((*TOP, *DELEGATED))}")
        with self._turn:
            now_us = self._clock.now_us()
            told = json.dumps({"act": "rotate", "role": role, **rotation.model_dump()})
            self._book.change(self._course().model_dump_json(), Done(now_us, by, told))
            return _catalogue_answer(self._publisher.rotate(role, now_us))

    def catalogue(self) -> CatalogueAnswer:
        """Return what is published."""
        with self._turn:
            return _catalogue_answer(self._publisher.catalogue())

    def report(self, site: str, report: Report) -> ReportAnswer:
        """Hear from a site; where too many say that the candidate fails, it is taken back at once.

        Raises:
            TakenError: there are as many sites as may report.
        """
        with self._turn:
            if site not in self._told and len(self._told) >= ROLLOUT_SITES_REPORTING_MAX:
                raise TakenError(f"site: {ROLLOUT_SITES_REPORTING_MAX} report, and no more are heard")
            told = Told(self._clock.now_us(), report)
            self._book.report(site, told)
            self._told[site] = told
            if report.state == "refused":
                self._take_back(report.why)
            return _report_answer(site, told)

    def course(self) -> CourseAnswer:
        """Return how things stand."""
        with self._turn:
            return self._answer()

    def changes(self) -> ChangesAnswer:
        """Return the newest changes."""
        return ChangesAnswer(data=[_change_answer(done) for done in self._book.changes(MODEL_LIST_MAX)])

    def reports(self) -> ReportsAnswer:
        """Return what each site reported last."""
        with self._turn:
            return ReportsAnswer(data=[_report_answer(site, told) for site, told in sorted(self._told.items())])

    def _take_back(self, why: str) -> None:
        health = self._health(self._course())
        if health.bad:
            said = f"failed at {', '.join(sorted(health.refused)[:5])}: {why}"
            self._change(RollBack(why=said[:ROLLOUT_WHY_MAX].strip()), _HEALTH)

    def _whole(self, name: str, target: Target) -> bytes:
        if self._artifacts.size(target.sha256) is None:
            raise NotFoundError(f"files.{name}: no artifact of that digest; put it first")
        data = self._artifacts.read(target.sha256, 0, target.size + 1)
        if len(data) != target.size:
            message = f"{len(data)} bytes or more are kept of it, {target.size} are said"
            raise ArtifactError(f"files.{name}: {message}", fields=(FieldError(f"files.{name}.bytes", message),))
        return data

    def _entry(self, field: str, bundle: str) -> Entry:
        found = self._book.entry(bundle)
        if found is None:
            raise NotFoundError(f"{field}: {bundle} isn't in the registry; publish it first")
        return found

    def _course(self) -> Course:
        said = self._book.course()
        return Course() if said is None else Course.model_validate_json(said)

    def _health(self, course: Course) -> Health:
        return health_of(course, {site: told.report for site, told in self._told.items()})

    def _change(self, change: Change, by: str) -> None:
        before = self._course()
        after = changed(before, change, self._health(before))
        self._book.change(after.model_dump_json(), Done(self._clock.now_us(), by, change.model_dump_json()))
        self._settle()

    def _settle(self) -> None:
        """Have the catalogue name what is wanted; where it does, nothing is signed."""
        course = self._course()
        said = course.assignments.canonical()
        target = Target.of(said)
        wanted = {ASSIGNMENTS: target, **dict(self._files(course))}
        named = self._publisher.catalogue().targets
        if wanted != {path: told for path, told in named.items() if path.startswith(_MODELS)}:
            self._artifacts.put(target, [said])
            self._publisher.publish("models", wanted, self._clock.now_us())

    def _files(self, course: Course) -> Iterator[tuple[str, Target]]:
        for bundle in sorted(course.bundles()):
            for name, target in self._entry("bundle", bundle).files.items():
                yield f"models/{bundle}/{name}", target

    def _answer(self) -> CourseAnswer:
        course = self._course()
        said, health = course.assignments, self._health(course)
        return CourseAnswer(
            stable=said.stable,
            previous=course.previous,
            candidate=said.candidate,
            ring=said.ring if said.candidate else None,
            canaries=sorted(said.canaries),
            pins=dict(sorted(said.pins.items())),
            frozen=course.frozen,
            active=len(health.active),
            refused=len(health.refused),
        )


def _bundle_answer(entry: Entry) -> BundleAnswer:
    manifest = Manifest.model_validate_json(entry.manifest)
    return BundleAnswer(
        bundle=entry.bundle,
        added_at=rfc3339(entry.added_us),
        added_by=entry.by,
        data=manifest.data.source,
        standing=_standing(manifest),
        metrics=manifest.metrics,
        files={name: FileBody(sha256=target.sha256, bytes=target.size) for name, target in entry.files.items()},
    )


def _standing(manifest: Manifest) -> str:
    if manifest.override is not None:
        return f"overridden by {manifest.override.by}: {manifest.override.why}"
    return "passed" if manifest.gate is None else f"passed: {'; '.join(manifest.gate.reasons)}"


def _catalogue_answer(said: Catalogue) -> CatalogueAnswer:
    return CatalogueAnswer(
        roles={
            name: RoleAnswer(version=role.version, expires_at=rfc3339(role.expires_us), keys=sorted(role.keys))
            for name, role in said.roles.items()
        },
        files=len(said.targets),
    )


def _change_answer(done: Done) -> ChangeAnswer:
    told = json.loads(done.told)
    return ChangeAnswer(at=rfc3339(done.at_us), by=done.by, act=told.pop("act"), told=told)


def _report_answer(site: str, told: Told) -> ReportAnswer:
    return ReportAnswer(site=site, at=rfc3339(told.at_us), **told.report.model_dump())
