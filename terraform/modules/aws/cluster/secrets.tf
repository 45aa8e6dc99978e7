# Names only: whoever owns a secret puts its value in with `aws secretsmanager put-secret-value`.

locals {
  secrets = toset(concat(sort(tolist(var.secret_names)), var.gcs_fault_tolerance ? ["redis-password"] : []))
}

resource "aws_secretsmanager_secret" "this" {
  for_each                = local.secrets
  name                    = "${local.name}/${each.key}"
  kms_key_id              = aws_kms_key.this["secrets"].arn
  recovery_window_in_days = var.deletion_protection ? 30 : 0 # 0 lets a test destroy and make it again at once
  tags                    = local.tags
}
