# Who may do what: the control plane, the nodes, the workload, the service, and the add-ons that call AWS.

resource "aws_iam_role" "cluster" {
  name = "${local.name}-cluster"
  tags = local.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "eks.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "node" {
  name = "${local.name}-node"
  tags = local.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

# The CNI policy is the nodes' own and not a service account's: whatever still runs on the last node during destroy can
# then give its network interfaces back. An orphan interface keeps subnets, and so destroy, waiting for ever.
resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(concat(
    ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"],
    # The way to a private API: whoever IAM lets start a session forwards a port through a node (and gets a shell there).
    var.private_api && var.tunnel ? ["AmazonSSMManagedInstanceCore"] : [],
  ))
  role       = aws_iam_role.node.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.key}"
}

resource "aws_iam_openid_connect_provider" "this" {
  url            = aws_eks_cluster.this.identity[0].oidc[0].issuer
  client_id_list = ["sts.amazonaws.com"]
  tags           = local.tags
}

locals {
  issuer       = trimprefix(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")
  pod_accounts = { workload = var.service_account.name, serving = "${var.service_account.name}-serve" }
}

resource "aws_iam_role" "pods" {
  for_each = local.pod_accounts
  name     = "${local.name}-${each.key}"
  tags     = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.this.arn }
      Condition = { StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "system:serviceaccount:${var.service_account.namespace}:${each.value}"
      } }
    }]
  })
}

# The workload: read and write the one bucket, read the named secrets, and use the keys of both: nothing else.
resource "aws_iam_role_policy" "workload" {
  name = "workspace"
  role = aws_iam_role.pods["workload"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
        Resource = aws_s3_bucket.data.arn
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = "${aws_s3_bucket.data.arn}/*"
      },
      {
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = aws_kms_key.this["data"].arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}

# What answers requests: read the bucket, and add to a workspace's logs of item changes and events. What is there it can neither
# replace, because each write must say that it makes a new object, nor delete.
resource "aws_iam_role_policy" "serving" {
  name = "workspace"
  role = aws_iam_role.pods["serving"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:GetBucketLocation"]
        Resource = aws_s3_bucket.data.arn
      },
      {
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${aws_s3_bucket.data.arn}/*"
      },
      {
        Effect    = "Allow"
        Action    = "s3:PutObject"
        Resource  = [for log in ["overlay", "events"] : "${aws_s3_bucket.data.arn}/*/${log}/segment-*"]
        Condition = { Null = { "s3:if-none-match" = "false" } }
      },
      {
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = aws_kms_key.this["data"].arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}

resource "aws_iam_role_policy" "workload_secrets" {
  count = length(local.secrets) > 0 ? 1 : 0 # a statement without a resource is refused
  name  = "secrets"
  role  = aws_iam_role.pods["workload"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
        Resource = [for secret in aws_secretsmanager_secret.this : secret.arn]
      },
      {
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = aws_kms_key.this["secrets"].arn
        Condition = { StringEquals = { "kms:ViaService" = "secretsmanager.${var.region}.amazonaws.com" } }
      },
    ]
  })
}

# Add-ons get their roles by pod identity: no ARN has to travel to the root that installs them.
locals {
  addon_accounts = { autoscaler = "cluster-autoscaler", ebs-csi = "ebs-csi-controller-sa" }
}

resource "aws_iam_role" "addon" {
  for_each = local.addon_accounts
  name     = "${local.name}-${each.key}"
  tags     = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Principal = { Service = "pods.eks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
    }]
  })
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = local.addon_accounts
  cluster_name    = aws_eks_cluster.this.name
  namespace       = "kube-system"
  service_account = each.value
  role_arn        = aws_iam_role.addon[each.key].arn
  tags            = local.tags
}

resource "aws_iam_role_policy" "autoscaler" {
  name = "scale-this-cluster"
  role = aws_iam_role.addon["autoscaler"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow" # none of these can be limited to a resource
        Action = [
          "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags",
          "ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions",
          "ec2:GetInstanceTypesFromInstanceRequirements",
        ]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = "eks:DescribeNodegroup"
        Resource = "arn:${local.partition}:eks:${var.region}:${var.account}:nodegroup/${local.name}/*"
      },
      {
        Effect    = "Allow"
        Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${local.name}" = "owned" } }
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "ebs_csi" {
  role       = aws_iam_role.addon["ebs-csi"].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}

# Volumes of pods (Prometheus, Grafana) are encrypted with the disks' key too.
resource "aws_iam_role_policy" "ebs_csi_key" {
  name = "disks-key"
  role = aws_iam_role.addon["ebs-csi"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = local.key_use
        Resource = aws_kms_key.this["disks"].arn
      },
      {
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = aws_kms_key.this["disks"].arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}
