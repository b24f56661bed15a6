"""Buckets as people have them: settings that the stand-in does not know, and what they do.

A proxy in front of the stand-in answers `buckets.get` with the settings, and refuses what a bucket
with them refuses. Sources, all below https://cloud.google.com/storage/docs:
bucket-lock (a delete of an object under a retention policy is answered with 403
`retentionPolicyNotMet`), object-holds (under a hold likewise, `objectUnderActiveHold`),
requester-pays (a request without `userProject` is answered with 400 `UserProjectMissing`), and
access-control/iam-json (`buckets.get` needs `storage.buckets.get`).
"""

import json
from collections.abc import Mapping
from typing import Any

from polycopy_assets_tests.fakes.proxy import Fault, Proxy

ALWAYS = 10**6
OBJECT = r"/o/"


def settings(front: Proxy, bucket: str, **changes: Any) -> None:
    """The bucket has these settings from now on."""
    if changes.get("billing", {}).get("requesterPays"):
        words = "Bucket is a requester pays bucket but no user project provided."
        for method in ("GET", "POST", "PUT", "DELETE"):
            front.faults.append(_refusal(method, "", 400, "UserProjectMissing", words))
    if period := changes.get("retentionPolicy", {}).get("retentionPeriod"):
        words = f"Object is subject to bucket's retention policy of {period} s"
        front.faults.append(_refusal("DELETE", OBJECT, 403, "retentionPolicyNotMet", words))
    if changes.get("defaultEventBasedHold"):
        words = "Object is under active Event-Based hold and cannot be deleted"
        front.faults.append(_refusal("DELETE", OBJECT, 403, "objectUnderActiveHold", words))
    shown = {"kind": "storage#bucket", "name": bucket, "location": "EU", **changes}
    front.faults.append(
        Fault("GET", f"/b/{bucket}([?]|$)", 200, ALWAYS, body=json.dumps(shown).encode())
    )


def unseen(front: Proxy, bucket: str) -> None:
    """The caller has no `storage.buckets.get`, as with roles/storage.objectAdmin."""
    words = (
        "polycopy-run does not have storage.buckets.get access to the Google Cloud Storage bucket."
    )
    front.faults.append(_refusal("GET", f"/b/{bucket}([?]|$)", 403, "forbidden", words))


def _refusal(method: str, address: str, status: int, reason: str, words: str) -> Fault:
    said: Mapping[str, Any] = {
        "error": {
            "code": status,
            "message": words,
            "errors": [{"reason": reason, "message": words}],
        }
    }
    return Fault(method, address, status, ALWAYS, body=json.dumps(said).encode())
