"""A strict double of Cloud Storage's JSON interface, in memory, whose bucket settings have effects.

The stand-in of `fakes/gcs.py` stores and serves objects, and knows no setting but versioning. This
one refuses, keeps and deletes what a bucket with those settings does, by its documentation.
"""

from polycopy_assets_tests.fakes.storage.model import Bucket, Refused, Version
from polycopy_assets_tests.fakes.storage.server import Storage
from polycopy_assets_tests.fakes.storage.serving import storage_double

__all__ = ["Bucket", "Refused", "Storage", "Version", "storage_double"]
