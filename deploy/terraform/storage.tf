locals {
  bucket          = var.create_bucket ? google_storage_bucket.store[0].name : data.google_storage_bucket.existing[0].name
  bucket_location = var.create_bucket ? google_storage_bucket.store[0].location : data.google_storage_bucket.existing[0].location
}

resource "google_storage_bucket" "store" {
  count = var.create_bucket ? 1 : 0

  project                     = var.project
  name                        = var.bucket
  location                    = var.location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_retention_days * 86400
  }

  # Uploads of processes that died are billed, and can never be finished.
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  # No rule may name segments (trades/, activity/segments/, tips/segments/), coverage/, wanted/ and
  # manifests: only polycopy deletes segments, after it has united them, or when somebody purges
  # their wallet.
  dynamic "lifecycle_rule" {
    for_each = var.combined_retention_days > 0 ? [var.combined_retention_days] : []

    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
        matches_prefix = [
          "${local.object_prefix}combined/parts/",
          "${local.object_prefix}activity/combined/parts/",
          "${local.object_prefix}tips/combined/parts/",
        ]
      }
    }
  }

  depends_on = [google_project_service.apis]
}

data "google_storage_bucket" "existing" {
  count = var.create_bucket ? 0 : 1

  name = var.bucket

  lifecycle {
    postcondition {
      condition     = self.uniform_bucket_level_access
      error_message = "The bucket needs uniform bucket-level access: without it no grant can be limited to a prefix."
    }
  }
}
