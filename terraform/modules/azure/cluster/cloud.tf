# What Azure calls what was asked for, and who asks.

data "azurerm_client_config" "current" {}

locals {
  name   = "${var.name}-${var.environment}"
  labels = merge(var.labels, { deployment = local.name, managed-by = "terraform" })
  # Storage accounts, vaults and registries share one world-wide namespace of short names without hyphens.
  short  = substr(replace(local.name, "-", ""), 0, 12)
  suffix = substr(sha1("${var.account}/${local.name}"), 0, 8)

  # Dv5: 4 GiB per vCPU, and encryption at host.
  cpu_machine = "Standard_D${var.cpu_pool.vcpus}s_v5"

  gpu_machine     = local.gpu_machines["${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}"]
  gpu_accelerator = { L4 = "A10", A100 = "A100", H100 = "H100" }[var.gpu_pool.accelerator]
}

resource "azurerm_resource_group" "this" {
  name     = local.name
  location = var.region
  tags     = local.labels

  lifecycle {
    precondition {
      condition     = data.azurerm_client_config.current.subscription_id == var.account
      error_message = "The credentials are those of subscription ${data.azurerm_client_config.current.subscription_id}, but account is ${var.account}; use the right one."
    }
    # Vaults answer in a network that the same apply makes, and their keys are made through them.
    precondition {
      condition     = length(local.public_cidrs) > 0
      error_message = "allowed_cidrs must name the public address that you apply from, such as 203.0.113.7/32: vaults, bucket and registry refuse all others."
    }
  }
}
