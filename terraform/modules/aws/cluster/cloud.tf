# What AWS calls what was asked for, and who asks.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

# Zones of these ids have no control plane of EKS; which letter they go by differs from account to account.
data "aws_availability_zones" "control_plane" {
  state            = "available"
  exclude_zone_ids = ["use1-az3", "usw1-az2", "cac1-az3"]
}

locals {
  name      = "${var.name}-${var.environment}"
  tags      = merge(var.labels, { deployment = local.name, managed-by = "terraform" })
  partition = data.aws_partition.current.partition

  # m7i: 4 GiB per vCPU, and the AMX instructions that the cpu engine's bfloat16 product uses.
  cpu_machine = { 8 = "m7i.2xlarge", 16 = "m7i.4xlarge", 32 = "m7i.8xlarge" }[var.cpu_pool.vcpus]

  # More types that carry as many of the same accelerator: a spot group asks for all, and gets what is likeliest to stay.
  gpu_spot_machines = {
    L4x1 = ["gr6.4xlarge", "g6.4xlarge", "g6.8xlarge"]
    L4x4 = ["g6.24xlarge"]
  }
  # What cluster-autoscaler calls them, in the label by which it knows that a node without GPUs has not got them yet.
  gpu_label   = { L4 = "nvidia-l4", A100 = "nvidia-tesla-a100", H100 = "nvidia-h100" }[var.gpu_pool.accelerator]
  gpu_machine = local.gpu_machines["${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}"]
}
