locals {
  dataset          = var.create_dataset ? google_bigquery_dataset.warehouse[0].dataset_id : data.google_bigquery_dataset.existing[0].dataset_id
  dataset_location = var.create_dataset ? google_bigquery_dataset.warehouse[0].location : data.google_bigquery_dataset.existing[0].location

  traders_schema = [
    { name = "wallet_address", type = "STRING", mode = "NULLABLE" },
  ]

  trades_schema = [
    { name = "wallet_address", type = "STRING", mode = "NULLABLE" },
    { name = "id", type = "STRING", mode = "NULLABLE" },
    { name = "timestamp", type = "TIMESTAMP", mode = "NULLABLE" },
    { name = "side", type = "STRING", mode = "NULLABLE" },
    { name = "price", type = "FLOAT64", mode = "NULLABLE" },
    { name = "shares_normalized", type = "FLOAT64", mode = "NULLABLE" },
    { name = "token_id", type = "STRING", mode = "NULLABLE" },
    { name = "token_label", type = "STRING", mode = "NULLABLE" },
    { name = "condition_id", type = "STRING", mode = "NULLABLE" },
    { name = "tx_hash", type = "STRING", mode = "NULLABLE" },
    { name = "order_hash", type = "STRING", mode = "NULLABLE" },
    { name = "taker", type = "STRING", mode = "NULLABLE" },
    { name = "market_slug", type = "STRING", mode = "NULLABLE" },
    { name = "title", type = "STRING", mode = "NULLABLE" },
    { name = "source", type = "STRING", mode = "NULLABLE" },
    { name = "sequence", type = "INT64", mode = "NULLABLE" },
    { name = "outcome_index", type = "INT64", mode = "NULLABLE" },
    { name = "event_slug", type = "STRING", mode = "NULLABLE" },
    { name = "notional_usdc", type = "FLOAT64", mode = "NULLABLE" },
  ]
}

# No default expiry: it would delete `trades` too. The loader sets the expiry of staging tables.
resource "google_bigquery_dataset" "warehouse" {
  count = var.create_dataset ? 1 : 0

  project                    = var.project
  dataset_id                 = var.dataset
  location                   = var.location
  delete_contents_on_destroy = false

  depends_on = [google_project_service.apis]
}

data "google_bigquery_dataset" "existing" {
  count = var.create_dataset ? 0 : 1

  project    = var.project
  dataset_id = var.dataset
}

resource "google_bigquery_table" "traders" {
  count = var.create_dataset ? 1 : 0

  project             = var.project
  dataset_id          = local.dataset
  table_id            = "traders"
  schema              = jsonencode(local.traders_schema)
  deletion_protection = true

  lifecycle {
    ignore_changes = [schema, labels]
  }
}

# The loader adds columns, and earlier versions keep labels: neither is undone here. The loader
# creates the table `polycopy_batches` itself, with its first row.
resource "google_bigquery_table" "trades" {
  count = var.create_dataset ? 1 : 0

  project             = var.project
  dataset_id          = local.dataset
  table_id            = "trades"
  schema              = jsonencode(local.trades_schema)
  clustering          = ["wallet_address"]
  deletion_protection = true

  time_partitioning {
    type  = "MONTH"
    field = "timestamp"
  }

  lifecycle {
    ignore_changes = [schema, labels]
  }
}
