# The node groups: a cpu group in each zone, gpu-spot and gpu-ondemand as asked.
#
# A disk of a pod (EBS) stays in its zone, and the autoscaler does not know in which zone a group of several would start a node
# (kubernetes/autoscaler#1431): after a night without nodes, Prometheus could wait for ever for one beside its disk.
#
# Spot: EKS runs a managed group with capacity rebalancing, drains a node when AWS warns of its end, and starts another;
# no termination handler is needed. The pods' share of it (grace periods) is in the manifests, the runs' is the ledger.

locals {
  cpu_pools = {
    for index, zone in var.zones : "cpu-${trimprefix(zone, var.region)}" => {
      role     = "cpu"
      machines = [local.cpu_machine]
      gpus     = 0
      spot     = false
      # The zones' minima and maxima add up to those of the pool; the first zones get what is left over. EKS takes no maximum of 0.
      min      = floor((var.cpu_pool.min + length(var.zones) - 1 - index) / length(var.zones))
      max      = max(1, floor((var.cpu_pool.max + length(var.zones) - 1 - index) / length(var.zones)))
      disk_gib = 100
      ami_type = "AL2023_x86_64_STANDARD"
      zones    = [zone]
    }
  }
  gpu_pool = {
    role     = "gpu"
    machines = [local.gpu_machine]
    gpus     = var.gpu_pool.accelerator_count
    max      = var.gpu_pool.max
    disk_gib = 200
    # The NVIDIA image carries driver and container runtime; the plain one leaves both to an operator.
    ami_type = var.gpu_pool.driver == "managed" ? "AL2023_x86_64_NVIDIA" : "AL2023_x86_64_STANDARD"
    zones    = length(var.gpu_pool.zones) == 0 ? var.zones : var.gpu_pool.zones
  }
  gpu_pools = {
    gpu-spot = merge(local.gpu_pool, {
      spot     = true
      min      = var.gpu_pool.min
      machines = concat([local.gpu_machine], lookup(local.gpu_spot_machines, "${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}", []))
    })
    # As a fallback it waits at 0; alone it keeps the minimum.
    gpu-ondemand = merge(local.gpu_pool, { spot = false, min = var.gpu_pool.spot ? 0 : var.gpu_pool.min })
  }
  pools = merge(local.cpu_pools, {
    for name, pool in local.gpu_pools : name => pool if pool.spot == var.gpu_pool.spot || var.gpu_pool.on_demand_fallback && !pool.spot
  })

  # AWS sells A100 and H100 for a fixed time (Capacity Blocks), L4 as an open-ended reservation.
  capacity_block = var.gpu_pool.reservation != "" && var.gpu_pool.accelerator != "L4"
  capacity_types = {
    for name, pool in local.pools : name => pool.spot ? "SPOT" : pool.gpus > 0 && local.capacity_block ? "CAPACITY_BLOCK" : "ON_DEMAND"
  }

  gpu_taint = { key = "nvidia.com/gpu", value = "present", effect = "NO_SCHEDULE" }
}

resource "aws_launch_template" "this" {
  for_each               = local.pools
  name                   = "${local.name}-${each.key}"
  update_default_version = true
  tags                   = local.tags

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = each.value.disk_gib
      encrypted             = true
      kms_key_id            = aws_kms_key.this["disks"].arn
      delete_on_termination = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1 # a pod cannot become the node
  }

  monitoring {
    enabled = true
  }

  # The NVMe disks of GPU machines carry images and what Ray spills; the root disk does 125 MB/s.
  user_data = each.value.gpus == 0 ? null : base64encode(join("\n", [
    "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=\"part\"",
    "",
    "--part",
    "Content-Type: application/node.eks.aws",
    "",
    yamlencode({ apiVersion = "node.eks.aws/v1alpha1", kind = "NodeConfig", spec = { instance = { localStorage = { strategy = "RAID0" } } } }),
    "--part--",
  ]))

  dynamic "capacity_reservation_specification" {
    for_each = each.value.gpus > 0 && var.gpu_pool.reservation != "" ? [var.gpu_pool.reservation] : []
    content {
      capacity_reservation_target {
        capacity_reservation_id = capacity_reservation_specification.value
      }
    }
  }

  instance_type = local.capacity_types[each.key] == "CAPACITY_BLOCK" ? each.value.machines[0] : null # a block wants it here

  dynamic "instance_market_options" {
    for_each = local.capacity_types[each.key] == "CAPACITY_BLOCK" ? ["capacity-block"] : []
    content {
      market_type = instance_market_options.value
    }
  }

  # A node group's own tags stop at its Auto Scaling group.
  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]
    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "${local.name}-${each.key}" })
    }
  }
}

data "aws_ssm_parameter" "node_image" {
  for_each = local.pools
  name     = "/aws/service/eks/optimized-ami/${var.kubernetes_version}/amazon-linux-2023/x86_64/${endswith(each.value.ami_type, "NVIDIA") ? "nvidia" : "standard"}/recommended/release_version"
}

resource "aws_eks_node_group" "this" {
  for_each        = local.pools
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for zone in each.value.zones : aws_subnet.private[zone].id]
  version         = var.kubernetes_version
  release_version = data.aws_ssm_parameter.node_image[each.key].insecure_value # it is public
  ami_type        = each.value.ami_type
  capacity_type   = local.capacity_types[each.key]
  instance_types  = local.capacity_types[each.key] == "CAPACITY_BLOCK" ? null : each.value.machines
  labels          = merge({ "semrec.io/pool" = each.value.role }, each.value.gpus > 0 ? { "k8s.amazonaws.com/accelerator" = local.gpu_label } : {})
  tags            = local.tags

  launch_template {
    name    = aws_launch_template.this[each.key].name
    version = aws_launch_template.this[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.min
    max_size     = each.value.max
    desired_size = each.value.min
  }

  update_config {
    max_unavailable = 1
  }

  node_repair_config {
    enabled = true # a GPU that falls off the bus is replaced, not retried
  }

  dynamic "taint" {
    for_each = each.value.gpus > 0 ? [local.gpu_taint] : []
    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = taint.value.effect
    }
  }

  lifecycle {
    # Desired is the autoscaler's. The minimum is the power machine's: an apply by night, when all groups are at 0, would raise it
    # over the desired size, which EKS refuses. A new minimum comes with the next resume.
    ignore_changes = [scaling_config[0].desired_size, scaling_config[0].min_size]
  }

  # Destroyed in reverse: the groups first, then the CNI's record, and the node role's policies last.
  depends_on = [aws_iam_role_policy_attachment.node, aws_eks_addon.network]
}

# With no node to look at, the autoscaler learns from these tags what a node of the group would be. Without them a group
# at 0 is taken for one that has neither GPU nor taint, and never scales up.
locals {
  node_template_tags = merge([for name, pool in local.pools : {
    for tag, value in merge(
      {
        "label/semrec.io/pool"                 = pool.role
        "label/eks.amazonaws.com/capacityType" = local.capacity_types[name]
        "resources/ephemeral-storage"          = "${pool.disk_gib}Gi" # the autoscaler does not look for the disk
      },
      length(pool.zones) > 1 ? {} : { "label/topology.ebs.csi.aws.com/zone" = one(pool.zones) }, # as volumes of EBS ask for
      pool.gpus == 0 ? {} : {
        "resources/nvidia.com/gpu" = tostring(pool.gpus)
        "taint/nvidia.com/gpu"     = "present:NoSchedule"
        # Without it a node counts as useless until its device plugin has spoken, and a second one is rented.
        "label/k8s.amazonaws.com/accelerator" = local.gpu_label
      },
    ) : "${name}/${tag}" => { pool = name, key = "k8s.io/cluster-autoscaler/node-template/${tag}", value = value }
  }]...)
}

resource "aws_autoscaling_group_tag" "this" {
  for_each               = local.node_template_tags
  autoscaling_group_name = aws_eks_node_group.this[each.value.pool].resources[0].autoscaling_groups[0].name

  tag {
    key                 = each.value.key
    value               = each.value.value
    propagate_at_launch = false
  }
}
