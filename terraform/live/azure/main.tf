provider "azurerm" {
  subscription_id     = var.account
  storage_use_azuread = true # the account has no shared keys

  features {
    storage {
      data_plane_available = false # the account answers inside its network only; all that is needed can be asked outside
    }
    key_vault {
      purge_soft_delete_on_destroy = false # purge protection refuses it, and destroy would fail at the end
    }
  }
}

module "cluster" {
  source = "../../modules/azure/cluster"

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
