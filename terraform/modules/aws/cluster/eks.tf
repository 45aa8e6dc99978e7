# The control plane and the add-ons without which no node becomes ready.

resource "aws_cloudwatch_log_group" "cluster" {
  name              = "/aws/eks/${local.name}/cluster" # EKS writes here; made first, or EKS makes it without key and end
  retention_in_days = 365
  kms_key_id        = aws_kms_key.this["logs"].arn
  tags              = local.tags
}

resource "aws_eks_cluster" "this" {
  name                          = local.name
  version                       = var.kubernetes_version
  role_arn                      = aws_iam_role.cluster.arn
  bootstrap_self_managed_addons = false # they come below, as managed add-ons
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  tags                          = local.tags

  vpc_config {
    subnet_ids              = [for subnet in aws_subnet.private : subnet.id]
    endpoint_private_access = true # nodes never go over the internet to their own API
    endpoint_public_access  = !var.private_api
    public_access_cidrs     = var.private_api ? null : var.allowed_cidrs
  }

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = true
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.this["etcd"].arn
    }
  }

  kubernetes_network_config {
    service_ipv4_cidr = var.network.service_cidr
  }

  upgrade_policy {
    support_type = "STANDARD" # extended support costs six times as much, silently
  }

  depends_on = [aws_iam_role_policy_attachment.cluster, aws_cloudwatch_log_group.cluster]
}

resource "aws_eks_access_entry" "admin" {
  for_each      = var.admins
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
  tags          = local.tags
}

resource "aws_eks_access_policy_association" "admin" {
  for_each      = var.admins
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.admin[each.key].principal_arn
  policy_arn    = "arn:${local.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}

# The private endpoint answers inside the VPC; VPN and peered networks are let in by name.
resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each          = toset(var.private_api ? var.allowed_cidrs : [])
  security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description       = "Kubernetes API"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

# Add-ons and nodes move with each apply, to the newest that fits the cluster's version: neither does so by itself.
locals {
  addons = {
    network = ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"]
    # The agent finds GPUs that fell off the bus and drivers that report errors; node_repair_config acts on what it finds.
    on_nodes = ["coredns", "aws-ebs-csi-driver", "eks-node-monitoring-agent"]
  }
}

data "aws_eks_addon_version" "newest" {
  for_each           = toset(flatten(values(local.addons)))
  addon_name         = each.key
  kubernetes_version = var.kubernetes_version
  most_recent        = true
}

# preserve: should the add-on's record go before the nodes (a targeted destroy, another name), its pods stay. Without them
# the nodes could not give back the interfaces they attached, and the subnets, so destroy, would wait for ever.
resource "aws_eks_addon" "network" {
  for_each                    = toset(local.addons.network)
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.newest[each.key].version
  preserve                    = true
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = local.tags
  # Prefixes instead of single addresses: a node reaches its pod limit without running out of interfaces.
  configuration_values = each.key == "vpc-cni" ? jsonencode({
    enableNetworkPolicy = "true"
    env                 = { ENABLE_PREFIX_DELEGATION = "true", WARM_PREFIX_TARGET = "1" }
  }) : null

  # The pods use the node role's policies, which therefore go last.
  depends_on = [aws_iam_role_policy_attachment.node]
}

# These run as ordinary pods and are "active" only once nodes exist.
resource "aws_eks_addon" "on_nodes" {
  for_each                    = toset(local.addons.on_nodes)
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.newest[each.key].version
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = local.tags

  depends_on = [aws_eks_node_group.this, aws_eks_pod_identity_association.this]
}
