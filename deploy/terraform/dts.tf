# Everything here exists only with load_via = "dts".

resource "google_service_account" "dts" {
  count = local.dts ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-dts"
  display_name = "polycopy: transfers of combined files"
}

resource "google_storage_bucket_iam_member" "dts_objects" {
  count = local.dts ? 1 : 0

  bucket = local.bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.dts[0].member
}

resource "google_bigquery_dataset_access" "dts" {
  count = local.dts ? 1 : 0

  project    = var.project
  dataset_id = local.dataset
  role       = "roles/bigquery.dataEditor"
  iam_member = google_service_account.dts[0].member
}

resource "google_project_iam_member" "dts_jobs" {
  count = local.dts ? 1 : 0

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.dts[0].member
}

resource "google_project_iam_custom_role" "dataset_update" {
  count = local.dts && var.dts_dataset_update ? 1 : 0

  project     = var.project
  role_id     = "${local.role_prefix}_dataset_update"
  title       = "polycopy dataset update"
  permissions = ["bigquery.datasets.get", "bigquery.datasets.update"]
}

resource "google_bigquery_dataset_access" "dts_update" {
  count = local.dts && var.dts_dataset_update ? 1 : 0

  project    = var.project
  dataset_id = local.dataset
  role       = google_project_iam_custom_role.dataset_update[0].name
  iam_member = google_service_account.dts[0].member
}

# polycopy-run sets the configuration's parameters, starts a run and reads its result. These
# permissions exist on projects only, so they hold for every transfer of the project.
resource "google_project_iam_custom_role" "transfers" {
  count = local.dts ? 1 : 0

  project     = var.project
  role_id     = "${local.role_prefix}_transfers"
  title       = "polycopy transfers"
  permissions = ["bigquery.transfers.get", "bigquery.transfers.update"]
}

resource "google_project_iam_member" "run_transfers" {
  count = local.dts ? 1 : 0

  project = var.project
  role    = google_project_iam_custom_role.transfers[0].name
  member  = google_service_account.run.member
}

# iam.serviceAccounts.actAs on this account only: changing a configuration means acting as its owner.
resource "google_service_account_iam_member" "run_acts_as_dts" {
  count = local.dts ? 1 : 0

  service_account_id = google_service_account.dts[0].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.run.member
}

# Only polycopy uses it: path and table are set for each batch, and Terraform does not reset them.
resource "google_bigquery_data_transfer_config" "batches" {
  count = local.dts ? 1 : 0

  project                = var.project
  location               = local.dataset_location
  display_name           = "${var.name} batches"
  data_source_id         = "google_cloud_storage"
  destination_dataset_id = local.dataset
  service_account_name   = google_service_account.dts[0].email

  schedule_options {
    disable_auto_scheduling = true
  }

  params = {
    data_path_template              = "gs://${local.bucket}/${local.object_prefix}combined/parts/none/*.parquet"
    destination_table_name_template = "polycopy_staging_none"
    file_format                     = "PARQUET"
    write_disposition               = "MIRROR"
  }

  lifecycle {
    ignore_changes = [
      params["data_path_template"],
      params["destination_table_name_template"],
    ]
  }

  depends_on = [
    google_project_service.apis,
    google_storage_bucket_iam_member.dts_objects,
    google_bigquery_dataset_access.dts,
    google_bigquery_dataset_access.dts_update,
    google_project_iam_member.dts_jobs,
  ]
}
