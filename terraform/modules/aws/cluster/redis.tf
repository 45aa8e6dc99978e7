# Where Ray's global control store survives its head: two nodes in two zones, encrypted, password in the vault.

resource "aws_elasticache_subnet_group" "this" {
  count      = var.gcs_fault_tolerance ? 1 : 0
  name       = local.name
  subnet_ids = [for subnet in aws_subnet.private : subnet.id]
  tags       = local.tags
}

resource "aws_security_group" "redis" {
  count       = var.gcs_fault_tolerance ? 1 : 0
  name        = "${local.name}-redis"
  description = "Redis from the cluster's nodes"
  vpc_id      = aws_vpc.this.id
  tags        = merge(local.tags, { Name = "${local.name}-redis" })
}

resource "aws_vpc_security_group_ingress_rule" "redis" {
  count                        = var.gcs_fault_tolerance ? 1 : 0
  security_group_id            = aws_security_group.redis[0].id
  referenced_security_group_id = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description                  = "Ray head"
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
  tags                         = local.tags
}

data "aws_secretsmanager_random_password" "redis" {
  count               = var.gcs_fault_tolerance ? 1 : 0
  password_length     = 48
  exclude_punctuation = true # ElastiCache refuses some of it
}

# Every read of the data source gives another password; this keeps the first one.
resource "terraform_data" "redis_password" {
  count = var.gcs_fault_tolerance ? 1 : 0
  input = data.aws_secretsmanager_random_password.redis[0].random_password

  lifecycle {
    ignore_changes = [input]
  }
}

resource "aws_secretsmanager_secret_version" "redis" {
  count         = var.gcs_fault_tolerance ? 1 : 0
  secret_id     = aws_secretsmanager_secret.this["redis-password"].id
  secret_string = terraform_data.redis_password[0].output
}

resource "aws_elasticache_replication_group" "this" {
  count                      = var.gcs_fault_tolerance ? 1 : 0
  replication_group_id       = local.name
  description                = "Global control store of Ray"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = "cache.t4g.small" # the store holds kilobytes per actor and job
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.this[0].name
  security_group_ids         = [aws_security_group.redis[0].id]
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this["secrets"].arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = terraform_data.redis_password[0].output
  auto_minor_version_upgrade = true
  snapshot_retention_limit   = 1
  tags                       = local.tags
}
