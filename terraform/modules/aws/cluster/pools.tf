# The node groups: cpu always, gpu-spot and gpu-ondemand as asked.
#
# Spot: EKS runs a managed group with capacity rebalancing, drains a node when AWS warns of its end, and starts another;
# no termination handler is needed. The pods' share of it (grace periods) is in the manifests, the runs' is the ledger.

locals {
  cpu_pool = {
    role     = "cpu"
    machine  = local.cpu_machine
    gpus     = 0
    spot     = false
    min      = var.cpu_pool.min
    max      = var.cpu_pool.max
    disk_gib = 100
    ami_type = "AL2023_x86_64_STANDARD"
    zones    = var.zones
  }
  gpu_pool = {
    role     = "gpu"
    machine  = local.gpu_machine
    gpus     = var.gpu_pool.accelerator_count
    max      = var.gpu_pool.max
    disk_gib = 200
    # The NVIDIA image carries driver and container runtime; the plain one leaves both to an operator.
    ami_type = var.gpu_pool.driver == "managed" ? "AL2023_x86_64_NVIDIA" : "AL2023_x86_64_STANDARD"
    zones    = length(var.gpu_pool.zones) == 0 ? var.zones : var.gpu_pool.zones
  }
  gpu_pools = {
    gpu-spot = merge(local.gpu_pool, { spot = true, min = var.gpu_pool.min })
    # As a fallback it waits at 0; alone it keeps the minimum.
    gpu-ondemand = merge(local.gpu_pool, { spot = false, min = var.gpu_pool.spot ? 0 : var.gpu_pool.min })
  }
  pools = merge({ cpu = local.cpu_pool }, {
    for name, pool in local.gpu_pools : name => pool if pool.spot == var.gpu_pool.spot || var.gpu_pool.on_demand_fallback && !pool.spot
  })

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

  # A node group's own tags stop at its Auto Scaling group.
  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]
    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "${local.name}-${each.key}" })
    }
  }
}

resource "aws_eks_node_group" "this" {
  for_each        = local.pools
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for zone in each.value.zones : aws_subnet.private[zone].id]
  version         = var.kubernetes_version
  ami_type        = each.value.ami_type
  capacity_type   = each.value.spot ? "SPOT" : "ON_DEMAND"
  instance_types  = [each.value.machine]
  labels          = { "semrec.io/pool" = each.value.role }
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
    ignore_changes = [scaling_config[0].desired_size] # the autoscaler's
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
        "label/eks.amazonaws.com/capacityType" = pool.spot ? "SPOT" : "ON_DEMAND"
      },
      pool.gpus == 0 ? {} : {
        "resources/nvidia.com/gpu" = tostring(pool.gpus)
        "taint/nvidia.com/gpu"     = "present:NoSchedule"
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
