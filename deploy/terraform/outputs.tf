output "POLYCOPY_STORE" {
  description = "Value of the setting of that name."
  value       = local.store
}

output "POLYCOPY_WAREHOUSE" {
  description = "Value of the setting of that name."
  value       = "bigquery://${var.project}/${local.dataset}"
}

output "POLYCOPY_LOAD_VIA" {
  description = "Value of the setting of that name."
  value       = var.load_via
}

output "POLYCOPY_DTS_CONFIG" {
  description = "Value of the setting of that name; null without a transfer."
  value       = local.dts ? google_bigquery_data_transfer_config.batches[0].name : null
}

output "run_service_account" {
  description = "Attach this account to what runs polycopy."
  value       = google_service_account.run.email
}

output "job" {
  description = "Name of the nightly job; null without an image."
  value       = local.job ? google_cloud_run_v2_job.backfill[0].name : null
}

output "database_connection" {
  description = "Where POLYCOPY_INSTANCE finds the database: host=/cloudsql/ and this; null without a database."
  value       = var.database ? google_sql_database_instance.record[0].connection_name : null
}
