# One key per purpose, so that the right to read recommendations is not the right to read secrets or disks.

locals {
  account_root = "arn:${local.partition}:iam::${var.account}:root"

  # Access comes from IAM policies of this account, which this statement (AWS's own default) lets decide.
  key_owner = {
    Sid       = "AccountDecides"
    Effect    = "Allow"
    Principal = { AWS = local.account_root }
    Action    = "kms:*"
    Resource  = "*"
  }
  key_use = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]

  # What a service, not a role of ours, must be allowed in the key policy itself.
  key_statements = {
    data    = []
    secrets = []
    etcd    = []
    # Auto Scaling starts nodes from encrypted volumes as its service-linked role, which no IAM policy of ours reaches:
    # without this, a node group waits for instances that never come. The role is matched, not named as a principal,
    # because KMS refuses a principal that does not exist yet, as in a new account.
    disks = [
      {
        Sid       = "AutoScalingStartsNodes"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = local.key_use
        Resource  = "*"
        Condition = local.auto_scaling_only
      },
      {
        Sid       = "AutoScalingGrantsToVolumes"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = "kms:CreateGrant"
        Resource  = "*"
        Condition = merge(local.auto_scaling_only, { Bool = { "kms:GrantIsForAWSResource" = "true" } })
      },
    ]
    logs = [
      {
        Sid       = "LogGroupsOfThisDeployment"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = local.key_use
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = [
          "arn:${local.partition}:logs:${var.region}:${var.account}:log-group:/${local.name}/*",
          "arn:${local.partition}:logs:${var.region}:${var.account}:log-group:/aws/eks/${local.name}/*",
        ] } }
      },
      {
        Sid       = "AlarmsPublish"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
      },
    ]
  }
  auto_scaling_only = {
    StringEquals = { "kms:CallerAccount" = var.account }
    ArnLike      = { "aws:PrincipalArn" = "arn:${local.partition}:iam::${var.account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling*" }
  }
}

resource "aws_kms_key" "this" {
  for_each                = local.key_statements
  description             = "${local.name}: ${each.key}"
  enable_key_rotation     = true
  rotation_period_in_days = var.key_rotation_days
  deletion_window_in_days = var.deletion_protection ? 30 : 7
  policy                  = jsonencode({ Version = "2012-10-17", Statement = concat([local.key_owner], each.value) })
  tags                    = local.tags
}

resource "aws_kms_alias" "this" {
  for_each      = local.key_statements
  name          = "alias/${local.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}
