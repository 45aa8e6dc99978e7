# What GCP calls things: the vocabulary that variables.tf validates against. No provider is asked for it.

locals {
  account_pattern = "^[a-z][a-z0-9-]{4,28}[a-z0-9]$"
  account_example = "a GCP project id such as films-prod"
  region_pattern  = "^[a-z]+-[a-z]+[0-9]+$"
  region_example  = "us-central1"
  zone_pattern    = "^${var.region}-[a-f]$"
  zone_example    = "${var.region}-a"
  admin_pattern   = "^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$"
  admin_example   = "group:ops@example.com"
  timezones       = [] # Cloud Scheduler takes every IANA name

  # The machines that carry each accelerator. A100 is the 40 GB one.
  gpu_machines = {
    L4x1   = "g2-standard-8"
    L4x2   = "g2-standard-24"
    L4x4   = "g2-standard-48"
    L4x8   = "g2-standard-96"
    A100x1 = "a2-highgpu-1g"
    A100x2 = "a2-highgpu-2g"
    A100x4 = "a2-highgpu-4g"
    A100x8 = "a2-highgpu-8g"
    H100x1 = "a3-highgpu-1g"
    H100x2 = "a3-highgpu-2g"
    H100x4 = "a3-highgpu-4g"
    H100x8 = "a3-highgpu-8g"
  }
  spot_only = ["H100x1", "H100x2", "H100x4"] # parts of an a3 are not rented on demand

  has_flex_start = true
}
