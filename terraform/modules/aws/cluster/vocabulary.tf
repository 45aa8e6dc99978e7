# What AWS calls things: the vocabulary that variables.tf validates against. No provider is asked for it.

locals {
  account_pattern = "^[0-9]{12}$"
  account_example = "an AWS account id of 12 digits"
  region_pattern  = "^[a-z]{2}(-gov)?-[a-z]+-[0-9]$"
  region_example  = "us-east-1"
  zone_pattern    = "^${var.region}[a-f]$"
  zone_example    = "${var.region}a"
  admin_pattern   = "^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$"
  admin_example   = "arn:aws:iam::111122223333:role/platform"
  timezones       = [] # EventBridge Scheduler takes every IANA name

  # Every type that AWS rents with this many of the accelerator. A100 exists in eights only.
  gpu_machines = {
    L4x1   = "g6.2xlarge"
    L4x4   = "g6.12xlarge"
    L4x8   = "g6.48xlarge"
    A100x8 = "p4d.24xlarge"
    H100x1 = "p5.4xlarge"
    H100x8 = "p5.48xlarge"
  }
  spot_only = []

  has_flex_start = false # Capacity Blocks are its queue: gpu_pool.reservation
}
