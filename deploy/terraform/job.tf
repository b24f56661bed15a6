# The nightly job. Everything here exists only with an image.

locals {
  job      = var.image != ""
  job_name = "${var.name}-backfill"

  # POLYCOPY_MEMORY is what polycopy may use. The rest is for Python, Dagster, and what lies below
  # /tmp, because a task's disk is memory.
  settings = merge(
    {
      DAGSTER_HOME       = "/tmp/dagster"
      POLYCOPY_STORE     = local.store
      POLYCOPY_WAREHOUSE = "bigquery://${var.project}/${local.dataset}"
      POLYCOPY_MEMORY    = tostring(floor(var.job_memory / 2))
    },
    local.dts ? {
      POLYCOPY_LOAD_VIA   = "dts"
      POLYCOPY_DTS_CONFIG = google_bigquery_data_transfer_config.batches[0].name
    } : {},
    var.database ? {} : { POLYCOPY_INSTANCE = "ephemeral" },
    var.settings,
  )
  secrets = merge(
    var.database ? { POLYCOPY_INSTANCE = google_secret_manager_secret.instance[0].secret_id } : {},
    var.dome_api_key_secret == "" ? {} : { DOME_API_KEY = var.dome_api_key_secret },
  )
}

# The time limit is passed to the command: it stops fetching, loads what it has, and ends with 75 if
# wallets are left, which Cloud Run counts as a failure and retries. The rest of the time-out is for
# the load.
resource "google_cloud_run_v2_job" "backfill" {
  count = local.job ? 1 : 0

  project             = var.project
  name                = local.job_name
  location            = var.region
  deletion_protection = false # it holds nothing

  template {
    task_count  = 1
    parallelism = 1

    template {
      service_account       = google_service_account.run.email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      max_retries           = var.job_retries
      timeout               = "${(var.job_fetch_minutes + var.job_load_minutes) * 60}s"

      containers {
        image   = var.image
        command = ["polycopy"] # the image starts nothing by itself
        args    = ["backfill", "--refresh", "--older-than", "20h", "--for", "${var.job_fetch_minutes}m", "--json"]

        resources {
          limits = {
            cpu    = "1"
            memory = "${var.job_memory}Mi"
          }
        }

        dynamic "env" {
          for_each = local.settings

          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "env" {
          for_each = local.secrets

          content {
            name = env.key
            value_source {
              secret_key_ref {
                secret  = env.value
                version = "latest"
              }
            }
          }
        }

        dynamic "volume_mounts" {
          for_each = var.database ? ["/cloudsql"] : []

          content {
            name       = "cloudsql"
            mount_path = volume_mounts.value
          }
        }
      }

      dynamic "volumes" {
        for_each = var.database ? [google_sql_database_instance.record[0].connection_name] : []

        content {
          name = "cloudsql"
          cloud_sql_instance {
            instances = [volumes.value]
          }
        }
      }
    }
  }

  depends_on = [
    google_project_service.apis,
    google_secret_manager_secret_iam_member.run_instance,
    google_secret_manager_secret_iam_member.run_dome,
    google_project_iam_member.run_database,
  ]
}

resource "google_secret_manager_secret_iam_member" "run_dome" {
  count = var.dome_api_key_secret == "" ? 0 : 1

  project   = var.project
  secret_id = var.dome_api_key_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}

# Starts the job, and may do nothing else.
resource "google_service_account" "schedule" {
  count = local.job ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-schedule"
  display_name = "polycopy: starts the nightly job"
}

resource "google_cloud_run_v2_job_iam_member" "schedule" {
  count = local.job ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.backfill[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.schedule[0].member
}

# If the answer of a start is lost, it may start a second execution: that one waits for the first.
resource "google_cloud_scheduler_job" "nightly" {
  count = local.job ? 1 : 0

  project          = var.project
  region           = var.region
  name             = local.job_name
  schedule         = var.schedule
  time_zone        = var.time_zone
  attempt_deadline = "60s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${google_cloud_run_v2_job.backfill[0].name}:run"

    oauth_token {
      service_account_email = google_service_account.schedule[0].email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  depends_on = [google_project_service.apis]
}
