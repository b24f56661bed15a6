# Dagster's record in Cloud SQL for PostgreSQL. Everything here exists only with database = true.

# It has a public address, but no network may reach it: the job comes through Cloud Run's connector,
# which asks for roles/cloudsql.client, and so does the Auth Proxy on your own machine.
resource "google_sql_database_instance" "record" {
  count = var.database ? 1 : 0

  project             = var.project
  name                = "${var.name}-record"
  region              = var.region
  database_version    = "POSTGRES_16"
  deletion_protection = true

  settings {
    edition                     = "ENTERPRISE"
    tier                        = var.database_tier
    availability_type           = "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = 10
    disk_autoresize             = true
    deletion_protection_enabled = true

    ip_configuration {
      ipv4_enabled = true
      ssl_mode     = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled                        = true
      start_time                     = "01:00"
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = 7
      }
    }
  }

  lifecycle {
    ignore_changes = [settings[0].disk_size]
  }

  depends_on = [google_project_service.apis]
}

resource "google_sql_database" "record" {
  count = var.database ? 1 : 0

  project  = var.project
  instance = google_sql_database_instance.record[0].name
  name     = "polycopy"
}

# Holds POLYCOPY_INSTANCE. User, password and the secret's version are made by hand, so that no
# password is in Terraform's state.
resource "google_secret_manager_secret" "instance" {
  count = var.database ? 1 : 0

  project   = var.project
  secret_id = "${var.name}-instance"

  replication {
    auto {}
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_iam_member" "run_instance" {
  count = var.database ? 1 : 0

  project   = var.project
  secret_id = google_secret_manager_secret.instance[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

resource "google_project_iam_member" "run_database" {
  count = var.database ? 1 : 0

  project = var.project
  role    = "roles/cloudsql.client"
  member  = google_service_account.run.member
}
