# What AWS calls things: the vocabulary that variables.tf validates against.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name      = "${var.name}-${var.environment}"
  tags      = merge(var.labels, { deployment = local.name, managed-by = "terraform" })
  partition = data.aws_partition.current.partition

  account_pattern = "^[0-9]{12}$"
  account_example = "an AWS account id of 12 digits"
  region_pattern  = "^[a-z]{2}(-gov)?-[a-z]+-[0-9]$"
  region_example  = "us-east-1"
  zone_pattern    = "^${var.region}[a-f]$"
  zone_example    = "${var.region}a"
  timezones       = [] # EventBridge Scheduler takes every IANA name

  # m7i: 4 GiB per vCPU, and the AMX instructions that the cpu engine's bfloat16 product uses.
  cpu_machine = { 4 = "m7i.xlarge", 8 = "m7i.2xlarge", 16 = "m7i.4xlarge", 32 = "m7i.8xlarge" }[var.cpu_pool.vcpus]

  # Every type that AWS rents with this many of the accelerator. A100 exists in eights only.
  gpu_machines = {
    L4x1   = "g6.2xlarge"
    L4x4   = "g6.12xlarge"
    L4x8   = "g6.48xlarge"
    A100x8 = "p4d.24xlarge"
    H100x1 = "p5.4xlarge"
    H100x8 = "p5.48xlarge"
  }
  spot_only   = []
  gpu_machine = local.gpu_machines["${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}"]
}
