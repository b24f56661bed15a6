"""Buckets and objects of the double, and what a bucket's settings refuse.

Sources, all below https://cloud.google.com/storage/docs: bucket-lock and object-lock (an object
that is too young can be neither deleted nor replaced), object-holds, object-versioning,
soft-delete, requester-pays, hns-overview, encryption/customer-managed-keys.
"""

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import google_crc32c

Body = dict[str, Any]
_generations = itertools.count(1_700_000_000_000_000)

SOFT_DELETE = 604_800
"""Seconds for which a new bucket keeps deleted objects, unless its creator says otherwise."""


class Refused(Exception):
    """What a request is answered with in place of what it asked for."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass
class Version:
    """A generation of an object; `shown` is what its writer or a later change set on it."""

    name: str
    data: bytes
    created: datetime
    shown: Body = field(default_factory=dict)
    storage_class: str = "STANDARD"
    read: datetime | None = None
    """When it was last read."""
    gone: datetime | None = None
    """Since when it is not the current one."""
    deleted: datetime | None = None
    """Since when it is soft-deleted."""
    released: datetime | None = None
    """When its event-based hold was released: a retention policy counts from there."""
    generation: int = field(default_factory=lambda: next(_generations))


class Bucket:
    """One bucket; `resource` are its settings by the interface's names. `now` is its clock."""

    def __init__(self, name: str, resource: Body, now: Callable[[], datetime]) -> None:
        self.name = name
        self.now = now
        self.live: dict[str, Version] = {}
        self.noncurrent: list[Version] = []
        self.soft_deleted: list[Version] = []
        self.folders: set[str] = set()
        self.may_make_folders = True
        self.key_granted = True
        """Whether the service's own account may use the bucket's key."""
        self.hidden = False
        """Whether the caller lacks `storage.buckets.get`."""
        self.ours = False
        """Whether the caller owns the bucket's project, and so need not name who pays."""
        self.policy: Body = {"version": 1, "etag": "CAE=", "bindings": []}
        """Who may do what in it. The double itself lets everybody."""
        self.uploads: dict[str, datetime] = {}
        """Unfinished uploads, and when they began."""
        self.resource: Body = {
            "kind": "storage#bucket",
            "location": "US",
            "locationType": "multi-region",
            "storageClass": "STANDARD",
            "softDeletePolicy": {"retentionDurationSeconds": str(SOFT_DELETE)},
        }
        self.change(resource)

    def change(self, settings: Mapping[str, Any]) -> None:
        """Changes settings; None removes one. Raises Refused for what does not go together."""
        after = {**self.resource, **settings, "name": self.name, "id": self.name}
        after = {name: value for name, value in after.items() if value is not None}
        if _on(after, "hierarchicalNamespace"):
            # hns-overview, limitations: no versioning, and uniform access only.
            if _on(after, "versioning"):
                raise Refused(400, "invalid", "Versioning needs a bucket without folders.")
            access = after.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
            if not access.get("enabled"):
                raise Refused(400, "invalid", "Folders need uniform bucket-level access.")
        self.resource = after

    # -- what is there --------------------------------------------------------------------------

    def find(self, name: str, generation: int | None = None) -> Version:
        """The current object, or one of its generations; raises Refused if there is none."""
        for each in (*self.live.values(), *self.noncurrent):
            if each.name == name and generation in {None, each.generation}:
                if generation is None and each.gone is not None:
                    continue
                return each
        raise Refused(404, "notFound", f"No such object: {self.name}/{name}")

    def read(self, name: str, generation: int | None = None) -> Version:
        """The same, for its content."""
        found = self.find(name, generation)
        if "kmsKeyName" in found.shown:
            self._use_key()
        found.read = self.now()
        if self.resource.get("autoclass", {}).get("enabled"):
            found.storage_class = "STANDARD"  # autoclass: what is read is frequently read
        return found

    def listed(self, prefix: str, *, versions: bool, soft: bool) -> list[Version]:
        """Objects by name; also noncurrent ones, or the soft-deleted ones alone."""
        every: Iterator[Version] = itertools.chain(
            self.soft_deleted if soft else self.live.values(),
            self.noncurrent if versions and not soft else (),
        )
        found = [each for each in every if each.name.startswith(prefix)]
        return sorted(found, key=lambda each: (each.name, each.generation))

    # -- changes --------------------------------------------------------------------------------

    def write(self, name: str, data: bytes, shown: Body, unless: int | None) -> Version:
        """Makes an object; `unless` is the generation that must be the current one, 0 for none."""
        before = self.live.get(name)
        if unless is not None and unless != (before.generation if before else 0):
            raise Refused(
                412,
                "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold.",
            )
        claimed = shown.pop("crc32c", None)
        made = Version(name, data, self.now(), shown, str(self.resource["storageClass"]))
        if claimed not in {None, crc32c(data)}:
            raise Refused(400, "invalid", f"Provided CRC32C {claimed!r} does not match")
        if key := self.resource.get("encryption", {}).get("defaultKmsKeyName"):
            self._use_key()
            made.shown.setdefault("kmsKeyName", f"{key}/cryptoKeyVersions/1")
        if self.resource.get("defaultEventBasedHold"):
            made.shown["eventBasedHold"] = True
        self._make_folders(name)
        if before is not None:
            self._replace(before)
        self.live[name] = made
        return made

    def delete(self, name: str, generation: int | None = None) -> None:
        """Deletes the current object, or one generation for good."""
        found = self.find(name, generation)
        if generation is None:
            self._replace(found)
            return
        self.refuse_kept(found)
        self._drop(found)

    def restore(self, name: str, generation: int) -> Version:
        """Makes a soft-deleted generation the current object again, as a new generation."""
        for each in self.soft_deleted:
            if (each.name, each.generation) == (name, generation):
                shown = {k: v for k, v in each.shown.items() if k != "eventBasedHold"}
                return self.write(name, each.data, shown, None)
        raise Refused(404, "notFound", f"No such object: {self.name}/{name}#{generation}")

    def patch(self, found: Version, body: Mapping[str, Any]) -> Version:
        """Sets holds, retention, or the custom time of an object."""
        if found.shown.get("eventBasedHold") and body.get("eventBasedHold") is False:
            found.released = self.now()
        found.shown = {**found.shown, **body}
        return found

    def refuse_kept(self, found: Version) -> None:
        """Raises Refused if an object may not be deleted or replaced now."""
        where = f"Object '{self.name}/{found.name}'"
        for name, said in (("eventBasedHold", "Event-Based"), ("temporaryHold", "Temporary")):
            if found.shown.get(name):
                raise Refused(
                    403,
                    "objectUnderActiveHold",
                    f"{where} is under active {said} hold and cannot be deleted, overwritten or"
                    " archived until hold is removed.",
                )
        until = self.kept_until(found)
        if until is not None and until > self.now():
            raise Refused(
                403,
                "retentionPolicyNotMet",
                f"{where} is subject to bucket's retention policy or object retention and cannot"
                f" be deleted or overwritten until {until.isoformat()}",
            )

    def kept_until(self, found: Version) -> datetime | None:
        """Until when an object must stay, by the bucket's policy and its own retention."""
        ends = []
        if period := self.resource.get("retentionPolicy", {}).get("retentionPeriod"):
            ends.append((found.released or found.created) + timedelta(seconds=int(period)))
        if until := found.shown.get("retention", {}).get("retainUntilTime"):
            ends.append(datetime.fromisoformat(until))
        return max(ends, default=None)

    def _replace(self, found: Version) -> None:
        """Takes the current object away: to the noncurrent ones, or as a deletion."""
        # With versioning nothing is lost by it, and whether a policy then allows it is told in
        # different ways; the double takes the stricter one.
        self.refuse_kept(found)
        if _on(self.resource, "versioning"):
            del self.live[found.name]
            found.gone = self.now()
            self.noncurrent.append(found)
        else:
            self._drop(found)

    def _drop(self, found: Version) -> None:
        if found.gone is None:
            del self.live[found.name]
        else:
            self.noncurrent.remove(found)
        if int(self.resource["softDeletePolicy"].get("retentionDurationSeconds", 0)):
            found.deleted = self.now()
            self.soft_deleted.append(found)

    def _make_folders(self, name: str) -> None:
        """With a hierarchical namespace, a write makes the folders above an object."""
        if not _on(self.resource, "hierarchicalNamespace"):
            return
        steps = name.split("/")[:-1]
        above = {"/".join(steps[: number + 1]) + "/" for number in range(len(steps))}
        if above - self.folders and not self.may_make_folders:
            raise Refused(
                403, "forbidden", "The caller does not have storage.folders.create permission."
            )
        self.folders |= above

    def _use_key(self) -> None:
        if not self.key_granted:
            raise Refused(
                403,
                "forbidden",
                "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service"
                " account has been authorized to use this key.",
            )

    def shown(self, found: Version) -> Body:
        """An object as the interface shows it."""
        times = {"timeCreated": found.created, "timeDeleted": found.gone}
        times |= {"softDeleteTime": found.deleted, "retentionExpirationTime": None}
        if self.kept_until(found) is not None:
            times["retentionExpirationTime"] = self.kept_until(found)
        return {
            "kind": "storage#object",
            "bucket": self.name,
            "name": found.name,
            "generation": str(found.generation),
            "metageneration": "1",
            "size": str(len(found.data)),
            "crc32c": crc32c(found.data),
            "md5Hash": base64.b64encode(hashlib.md5(found.data).digest()).decode(),
            "storageClass": found.storage_class,
            **{name: at.isoformat() for name, at in times.items() if at is not None},
            **found.shown,
        }


def crc32c(data: bytes) -> str:
    """The checksum of the interface."""
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


def utc() -> datetime:
    """The time now."""
    return datetime.now(UTC)


def _on(resource: Mapping[str, Any], name: str) -> bool:
    return bool(resource.get(name, {}).get("enabled"))
