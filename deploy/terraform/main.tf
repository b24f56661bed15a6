locals {
  dts = var.load_via == "dts"

  # Object names begin with this; POLYCOPY_STORE has it without the slash.
  object_prefix = var.prefix == "" ? "" : "${var.prefix}/"
  store         = var.prefix == "" ? "gs://${local.bucket}" : "gs://${local.bucket}/${var.prefix}"

  # Role names must not contain dashes.
  role_prefix = replace(var.name, "-", "_")
}

resource "google_project_service" "apis" {
  for_each = toset(concat(
    ["storage.googleapis.com", "bigquery.googleapis.com"],
    local.dts ? ["bigquerydatatransfer.googleapis.com"] : [],
    local.job ? ["run.googleapis.com", "cloudscheduler.googleapis.com"] : [],
    var.database ? ["sqladmin.googleapis.com"] : [],
    var.database || var.dome_api_key_secret != "" ? ["secretmanager.googleapis.com"] : [],
  ))

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

# Resources created here always match; this warns about existing ones that do not.
check "same_location" {
  assert {
    condition     = lower(local.bucket_location) == lower(local.dataset_location)
    error_message = "The bucket is in ${local.bucket_location}, the dataset in ${local.dataset_location}. Loads work only if the bucket's region lies within the dataset's multi-region, or if the dataset is in US and no transfer is used."
  }
}
