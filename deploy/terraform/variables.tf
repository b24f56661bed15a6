variable "project" {
  description = "Project that holds the bucket, the dataset and the identities, and pays for them."
  type        = string
}

variable "location" {
  description = "Location of bucket and dataset: US, EU, or a region that both services have. Neither can be moved later."
  type        = string
  default     = "US"

  validation {
    condition     = can(regex("^(US|EU|[a-z]+-[a-z]+[0-9]+)$", var.location))
    error_message = "Accepted are US, EU, or a region such as europe-west1; dual-regions are no BigQuery locations."
  }
}

variable "name" {
  description = "First part of the names of service accounts and custom roles; a second deployment in one project needs another."
  type        = string
  default     = "polycopy"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,19}$", var.name))
    error_message = "Accepted are 3 to 20 lower-case letters, digits and dashes, a letter first."
  }
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "create_bucket" {
  description = "False: the bucket exists; its settings stay as they are, and only access is granted."
  type        = bool
  default     = true
}

variable "prefix" {
  description = "Everything in the bucket lies below this path; empty for the whole bucket."
  type        = string
  default     = "polycopy"

  validation {
    condition     = can(regex("^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$", var.prefix))
    error_message = "Accepted are names of letters, digits, dots, dashes and underscores, with single slashes between them."
  }
}

variable "dataset" {
  description = "Name of the dataset."
  type        = string
  default     = "polycopy"
}

variable "create_dataset" {
  description = "False: the dataset exists; neither it nor its tables are touched, and only access is granted."
  type        = bool
  default     = true
}

variable "soft_delete_retention_days" {
  description = "Days for which a deleted or overwritten object can be restored: 7 to 90, or 0 for none."
  type        = number
  default     = 7

  validation {
    condition     = var.soft_delete_retention_days == 0 || (var.soft_delete_retention_days >= 7 && var.soft_delete_retention_days <= 90)
    error_message = "Accepted are 0, and 7 to 90."
  }
}

variable "combined_retention_days" {
  description = "Days after which combined Parquet files are deleted; 0 keeps them. A lost table is loaded again from them."
  type        = number
  default     = 0

  validation {
    condition     = var.combined_retention_days >= 0 && floor(var.combined_retention_days) == var.combined_retention_days
    error_message = "Accepted are whole numbers from 0."
  }
}

variable "readers" {
  description = "Who may read objects and tables, such as group:polycopy-read@example.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain):.+$", member))])
    error_message = "Accepted are user:, group:, serviceAccount: and domain: members; nothing here may be public."
  }
}

variable "load_via" {
  description = "job: load jobs of polycopy's own. dts: a transfer configuration of the BigQuery Data Transfer Service."
  type        = string
  default     = "job"

  validation {
    condition     = contains(["job", "dts"], var.load_via)
    error_message = "Accepted are job and dts."
  }
}

variable "dts_dataset_update" {
  description = "True: the transfer's account also gets bigquery.datasets.update, with which it could change who reads the dataset. Only if a transfer run fails for want of it."
  type        = bool
  default     = false
}

variable "image" {
  description = "The container image of the nightly job, by digest (…@sha256:…); empty for no job."
  type        = string
  default     = ""

  validation {
    condition     = var.image == "" || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Name the image by its digest, NAME@sha256:…: a tag may change between two nights."
  }
}

variable "region" {
  description = "Region of job, scheduler and database: near the bucket and the dataset."
  type        = string
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Accepted is a region such as europe-west1."
  }
}

variable "schedule" {
  description = "When the job starts, in cron's format."
  type        = string
  default     = "0 3 * * *"
}

variable "time_zone" {
  description = "The time zone of the schedule."
  type        = string
  default     = "Etc/UTC"
}

variable "job_fetch_minutes" {
  description = "Minutes that one attempt fetches."
  type        = number
  default     = 50

  validation {
    condition     = var.job_fetch_minutes >= 2 && floor(var.job_fetch_minutes) == var.job_fetch_minutes
    error_message = "Accepted are whole minutes from 2."
  }
}

variable "job_load_minutes" {
  description = "Minutes that one attempt has for loading after the fetch; what does not fit is left for the next one."
  type        = number
  default     = 10

  validation {
    condition     = var.job_load_minutes >= 2 && floor(var.job_load_minutes) == var.job_load_minutes
    error_message = "Accepted are whole minutes from 2."
  }
}

variable "job_retries" {
  description = "Attempts after the first one, in one night; what is left then is fetched in the next night."
  type        = number
  default     = 10

  validation {
    condition     = var.job_retries >= 0 && var.job_retries <= 10
    error_message = "Cloud Run accepts 0 to 10."
  }
}

variable "job_memory" {
  description = "MiB of the job; polycopy uses half of it at most, and needs 384."
  type        = number
  default     = 1024

  validation {
    condition     = var.job_memory >= 768 && var.job_memory <= 4096
    error_message = "Accepted are 768 to 4096, as much as one processor may have."
  }
}

variable "settings" {
  description = "More settings of the job, such as { POLYCOPY_RATE_LIMIT = \"100/10\", POLYCOPY_FEEDS = \"trades,activity\" }. Not for secrets."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.settings) : startswith(name, "POLYCOPY_") && name != "POLYCOPY_INSTANCE"])
    error_message = "Accepted are POLYCOPY_ settings. POLYCOPY_INSTANCE may hold a password: use database = true."
  }
}

variable "dome_api_key_secret" {
  description = "Name of an existing secret of Secret Manager with the value of DOME_API_KEY; empty for none."
  type        = string
  default     = ""
}

variable "database" {
  description = "True: a Cloud SQL instance holds Dagster's record. False: the record is rebuilt from the bucket at each start."
  type        = bool
  default     = false
}

variable "database_tier" {
  description = "Machine of the Cloud SQL instance."
  type        = string
  default     = "db-f1-micro"
}
