provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account]
}

module "cluster" {
  source = "../../modules/aws/cluster"

  name                = var.name
  environment         = var.environment
  account             = var.account
  region              = var.region
  zones               = var.zones
  kubernetes_version  = var.kubernetes_version
  network             = var.network
  private_api         = var.private_api
  tunnel              = var.tunnel
  admins              = var.admins
  allowed_cidrs       = var.allowed_cidrs
  cpu_pool            = var.cpu_pool
  gpu_pool            = var.gpu_pool
  key_rotation_days   = var.key_rotation_days
  secret_names        = var.secret_names
  service_account     = var.service_account
  gcs_fault_tolerance = var.gcs_fault_tolerance
  budget              = var.budget
  auto_shutdown       = var.auto_shutdown
  deletion_protection = var.deletion_protection
  labels              = var.labels
}
