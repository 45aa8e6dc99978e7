# Who may do what: the control plane, the nodes, whatever encrypts, the workload, the service, and what suspends the cluster.

resource "azurerm_user_assigned_identity" "this" {
  for_each            = toset(["cluster", "kubelet", "encryption", "workload", "serving", "power"])
  name                = "${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.region
  tags                = local.labels
}

resource "azurerm_role_assignment" "cluster" {
  for_each = {
    network = { role = "Network Contributor", scope = azurerm_virtual_network.this.id }
    nodes   = { role = "Managed Identity Operator", scope = azurerm_user_assigned_identity.this["kubelet"].id }
    disks   = { role = "Reader", scope = azurerm_disk_encryption_set.this.id }
    vault   = { role = "Key Vault Contributor", scope = azurerm_key_vault.this["keys"].id } # AKS approves its own endpoint
  }
  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.this["cluster"].principal_id
}

resource "azurerm_role_assignment" "kubelet_pull" {
  scope                = azurerm_container_registry.this.id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_user_assigned_identity.this["kubelet"].principal_id
}

# Who applies this, and whoever `admins` names, can use the cluster.
resource "azurerm_role_assignment" "admin" {
  for_each             = merge({ deployer = data.azurerm_client_config.current.object_id }, { for admin in var.admins : admin => admin })
  scope                = azurerm_kubernetes_cluster.this.id
  role_definition_name = "Azure Kubernetes Service RBAC Cluster Admin"
  principal_id         = each.value
}

# Owning a subscription is not the right to touch its blobs either, and the first data are uploaded by whoever applies this.
resource "azurerm_role_assignment" "upload" {
  scope                = azurerm_storage_container.data.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = data.azurerm_client_config.current.object_id
}

resource "azurerm_federated_identity_credential" "pods" {
  for_each            = { workload = var.service_account.name, serving = "${var.service_account.name}-serve" }
  name                = "${var.service_account.namespace}-${each.value}"
  resource_group_name = azurerm_resource_group.this.name
  parent_id           = azurerm_user_assigned_identity.this[each.key].id
  issuer              = azurerm_kubernetes_cluster.this.oidc_issuer_url
  subject             = "system:serviceaccount:${var.service_account.namespace}:${each.value}"
  audience            = ["api://AzureADTokenExchange"]
}

# The workload: read and write the one container (secrets.tf: read the named secrets), and nothing else.
resource "azurerm_role_assignment" "workload" {
  scope                = azurerm_storage_container.data.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.this["workload"].principal_id
}

# What answers requests: read the container, and write a workspace's logs of item changes and events. No condition tells a new blob
# from a replaced one; versions of both are kept for 30 days.
resource "azurerm_role_assignment" "serving_reads" {
  scope                = azurerm_storage_container.data.id
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = azurerm_user_assigned_identity.this["serving"].principal_id
}

resource "azurerm_role_assignment" "serving_writes" {
  scope                = azurerm_storage_container.data.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.this["serving"].principal_id
  condition_version    = "2.0"
  condition = format("((%s) OR (%s))",
    join(" AND ", [for action in ["write", "add/action", "delete"] : "!(ActionMatches{'${local.blobs}/${action}'})"]),
    join(" OR ", [for log in ["overlay", "events"] : "@Resource[${local.blobs}:path] StringLike '*/${log}/segment-*'"]),
  )
}

locals {
  blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
}
