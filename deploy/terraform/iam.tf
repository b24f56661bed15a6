# polycopy-run: fetches, combines, loads. It has no key: attach it to the machine, or use
# Workload Identity.
resource "google_service_account" "run" {
  project      = var.project
  account_id   = "${var.name}-run"
  display_name = "polycopy: fetches, combines, loads"
}

# Objects below the prefix: written once, read, and removed if another combine was faster.
# There is no storage.objects.update: nothing is ever rewritten.
resource "google_project_iam_custom_role" "objects" {
  project     = var.project
  role_id     = "${local.role_prefix}_objects"
  title       = "polycopy objects"
  permissions = ["storage.objects.create", "storage.objects.delete", "storage.objects.get"]
}

resource "google_storage_bucket_iam_member" "run_objects" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.objects.name
  member = google_service_account.run.member

  condition {
    title      = "below_prefix"
    expression = "resource.name.startsWith(\"projects/_/buckets/${local.bucket}/objects/${local.object_prefix}\")"
  }
}

# Listing is checked on the bucket, not on an object, so the condition above would always refuse
# it. It therefore has a binding of its own, without a condition. It shows the names of all objects
# in the bucket, but not their content. Google lists storage.buckets.get (location and settings) as
# required for load jobs.
resource "google_project_iam_custom_role" "list" {
  project     = var.project
  role_id     = "${local.role_prefix}_list"
  title       = "polycopy list"
  permissions = ["storage.buckets.get", "storage.objects.list"]
}

resource "google_storage_bucket_iam_member" "run_list" {
  bucket = local.bucket
  role   = google_project_iam_custom_role.list.name
  member = google_service_account.run.member
}

# google_bigquery_dataset_access adds one entry and leaves all others alone;
# google_bigquery_dataset_iam_member would remove the authorized views of an existing dataset.
resource "google_bigquery_dataset_access" "run" {
  project    = var.project
  dataset_id = local.dataset
  role       = "roles/bigquery.dataEditor"
  iam_member = google_service_account.run.member
}

resource "google_project_iam_member" "run_jobs" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.run.member
}

# Readers.
resource "google_storage_bucket_iam_member" "read" {
  for_each = var.readers

  bucket = local.bucket
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_bigquery_dataset_access" "read" {
  for_each = var.readers

  project    = var.project
  dataset_id = local.dataset
  role       = "roles/bigquery.dataViewer"
  iam_member = each.value
}

resource "google_project_iam_member" "read_jobs" {
  for_each = var.readers

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = each.value
}
