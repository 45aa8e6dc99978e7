# The cluster and, because AKS wants one inside it, its CPU pool.

resource "azurerm_kubernetes_cluster" "this" {
  name                    = local.name
  resource_group_name     = azurerm_resource_group.this.name
  node_resource_group     = "${local.name}-nodes"
  location                = var.region
  kubernetes_version      = var.kubernetes_version
  sku_tier                = "Standard"
  dns_prefix              = local.name
  private_cluster_enabled = var.private_api
  disk_encryption_set_id  = azurerm_disk_encryption_set.this.id
  tags                    = local.labels

  local_account_disabled              = true # no certificate that is admin for ever
  role_based_access_control_enabled   = true
  oidc_issuer_enabled                 = true
  workload_identity_enabled           = true
  azure_policy_enabled                = true
  run_command_enabled                 = false           # a way around the private API
  private_cluster_public_fqdn_enabled = var.private_api # a private address under a public name, which peers and VPNs resolve too
  image_cleaner_enabled               = true
  image_cleaner_interval_hours        = 168
  automatic_upgrade_channel           = "patch"
  node_os_upgrade_channel             = "NodeImage"

  azure_active_directory_role_based_access_control {
    azure_rbac_enabled = true
    tenant_id          = data.azurerm_client_config.current.tenant_id
  }

  api_server_access_profile {
    virtual_network_integration_enabled = true
    subnet_id                           = azurerm_subnet.api.id
    authorized_ip_ranges                = var.private_api ? null : var.allowed_cidrs
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this["cluster"].id]
  }

  kubelet_identity {
    user_assigned_identity_id = azurerm_user_assigned_identity.this["kubelet"].id
    client_id                 = azurerm_user_assigned_identity.this["kubelet"].client_id
    object_id                 = azurerm_user_assigned_identity.this["kubelet"].principal_id
  }

  # A version of the key, not the key: after a rotation the next apply moves etcd to the new one.
  key_management_service {
    key_vault_key_id         = azurerm_key_vault_key.this["etcd"].id
    key_vault_network_access = "Private"
  }

  key_vault_secrets_provider {
    secret_rotation_enabled = true # AKS runs the secrets store driver itself
  }

  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium" # network policies are enforced, not merely accepted
    outbound_type       = "userAssignedNATGateway"
    load_balancer_sku   = "standard"
    pod_cidr            = cidrsubnet(var.network.cidr, 1, 1)
    service_cidr        = var.network.service_cidr
    dns_service_ip      = cidrhost(var.network.service_cidr, 10)
  }

  # priority: spot before on-demand, by a config map that the add-ons install.
  auto_scaler_profile {
    expander                      = "priority"
    scale_down_unneeded           = "10m"
    max_node_provisioning_time    = "10m" # then the next pool is tried: spot capacity that does not come is not waited for
    skip_nodes_with_local_storage = false # Ray spills to emptyDir; such a node would never be given back
  }

  default_node_pool {
    name                        = "cpu"
    vm_size                     = local.cpu_machine
    auto_scaling_enabled        = true
    min_count                   = var.cpu_pool.min
    max_count                   = var.cpu_pool.max
    zones                       = var.zones
    vnet_subnet_id              = azurerm_subnet.nodes.id
    orchestrator_version        = var.kubernetes_version
    os_disk_size_gb             = 128
    os_disk_type                = "Managed" # on the encryption set's key
    host_encryption_enabled     = true
    max_pods                    = 110
    node_labels                 = { "semrec.io/pool" = "cpu" }
    temporary_name_for_rotation = "cputmp"
    tags                        = local.labels

    upgrade_settings {
      max_surge = "10%"
    }
  }

  # Inside the hours in which the nodes are up (auto_shutdown's example) and before the daily run: a stopped cluster is never patched.
  maintenance_window_auto_upgrade {
    frequency   = "Weekly"
    interval    = 1
    day_of_week = "Tuesday"
    start_time  = "08:00"
    utc_offset  = "+00:00"
    duration    = 6
  }

  maintenance_window_node_os {
    frequency   = "Weekly"
    interval    = 1
    day_of_week = "Wednesday"
    start_time  = "08:00"
    utc_offset  = "+00:00"
    duration    = 6
  }

  lifecycle {
    ignore_changes = [default_node_pool[0].node_count] # the autoscaler's
  }

  depends_on = [
    azurerm_role_assignment.cluster,
    azurerm_role_assignment.key,
    azurerm_private_endpoint.vault,
    azurerm_nat_gateway_public_ip_association.this,
    azurerm_subnet_nat_gateway_association.nodes,
    azurerm_subnet_network_security_group_association.this,
  ]
}
