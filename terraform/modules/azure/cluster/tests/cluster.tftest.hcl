# What is planned, with Azure mocked.

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      subscription_id = "00000000-0000-0000-0000-000000000000"
      tenant_id       = "11111111-1111-1111-1111-111111111111"
      object_id       = "22222222-2222-2222-2222-222222222222"
    }
  }
}

variables {
  name        = "semrec"
  environment = "test"
  account     = "00000000-0000-0000-0000-000000000000"
  region      = "westeurope"
  zones       = ["1", "2"]
  budget      = { monthly = 500, emails = ["ops@example.com"] }

  allowed_cidrs = ["203.0.113.7/32"]
}

run "defaults_are_private_encrypted_and_scale_from_zero" {
  command = plan

  assert {
    condition     = azurerm_kubernetes_cluster.this.private_cluster_enabled && azurerm_kubernetes_cluster.this.local_account_disabled && !azurerm_kubernetes_cluster.this.run_command_enabled
    error_message = "the API must be private, without a way around"
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.private_cluster_public_fqdn_enabled && strcontains(output.kubeconfig_command, " --public-fqdn ") && endswith(output.kubeconfig_command, " && kubelogin convert-kubeconfig -l azurecli")
    error_message = "without kubelogin kubectl asks a browser, and without the public name it finds no API"
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.key_management_service[0].key_vault_network_access == "Private" && azurerm_kubernetes_cluster.this.api_server_access_profile[0].virtual_network_integration_enabled
    error_message = "etcd must be encrypted with a key of ours, reached from inside"
  }
  assert {
    condition     = azurerm_role_assignment.serving_reads.role_definition_name == "Storage Blob Data Reader" && azurerm_role_assignment.serving_writes.condition == "((!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'}) AND !(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike '*/overlay/segment-*' OR @Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path] StringLike '*/events/segment-*'))"
    error_message = "the service must read, and write two logs only; got ${azurerm_role_assignment.serving_writes.condition}"
  }
  assert {
    condition     = sort(keys(azurerm_kubernetes_cluster_node_pool.gpu)) == tolist(["gpuondemand", "gpuspot"])
    error_message = "there must be a spot pool and its on-demand fallback"
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.auto_scaler_profile[0].max_node_provisioning_time == "10m"
    error_message = "on demand must be tried ten minutes after spot"
  }
  assert {
    condition     = azurerm_kubernetes_cluster.this.default_node_pool[0].min_count == 2 && azurerm_kubernetes_cluster.this.default_node_pool[0].max_count == 20
    error_message = "the CPU pool must be 2 to 20"
  }
  assert {
    condition     = alltrue([for pool in azurerm_kubernetes_cluster_node_pool.gpu : pool.min_count == 0 && pool.max_count == 8 && pool.auto_scaling_enabled])
    error_message = "GPU pools must be 0 to 8"
  }
  assert {
    condition     = azurerm_kubernetes_cluster_node_pool.gpu["gpuspot"].priority == "Spot" && azurerm_kubernetes_cluster_node_pool.gpu["gpuspot"].eviction_policy == "Delete" && azurerm_kubernetes_cluster_node_pool.gpu["gpuspot"].spot_max_price == -1
    error_message = "gpuspot must be spot, evicted for capacity only"
  }
  assert {
    condition     = azurerm_kubernetes_cluster_node_pool.gpu["gpuspot"].node_taints == tolist(["nvidia.com/gpu=present:NoSchedule", "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"]) && azurerm_kubernetes_cluster_node_pool.gpu["gpuondemand"].node_taints == tolist(["nvidia.com/gpu=present:NoSchedule"])
    error_message = "GPU pools must be tainted, the spot one twice"
  }
  assert {
    condition     = contains([for toleration in output.gpu_tolerations : toleration.key], "kubernetes.azure.com/scalesetpriority") && contains([for toleration in output.addons.gpu_tolerations : toleration.key], "kubernetes.azure.com/scalesetpriority")
    error_message = "pods and the device plugin must tolerate the spot taint"
  }
  assert {
    condition     = alltrue([for key in azurerm_key_vault_key.this : key.rotation_policy[0].automatic[0].time_after_creation == "P90D"])
    error_message = "every key must rotate after 90 days"
  }
  assert {
    condition     = azurerm_storage_account.data.https_traffic_only_enabled && azurerm_storage_account.data.min_tls_version == "TLS1_2" && azurerm_storage_account.data.blob_properties[0].versioning_enabled && !azurerm_storage_account.data.shared_access_key_enabled && azurerm_storage_account.data.network_rules[0].default_action == "Deny"
    error_message = "the bucket must be versioned, private and TLS only"
  }
  assert {
    condition     = azurerm_key_vault.this["keys"].network_acls[0].ip_rules == toset(["203.0.113.7/32"]) && azurerm_storage_account.data.network_rules[0].ip_rules == toset(["203.0.113.7"]) && one(azurerm_container_registry.this.network_rule_set[0].ip_rule).ip_range == "203.0.113.7/32"
    error_message = "whoever applies must reach the vaults, the bucket and the registry"
  }
  assert {
    condition     = toset(azurerm_key_vault_key.this["etcd"].key_opts) == toset(["encrypt", "decrypt"]) && toset(azurerm_key_vault_key.this["data"].key_opts) == toset(["wrapKey", "unwrapKey"])
    error_message = "AKS encrypts etcd with the key itself"
  }
  assert {
    condition     = azurerm_role_assignment.upload.role_definition_name == "Storage Blob Data Contributor" && azurerm_role_assignment.upload.principal_id == "22222222-2222-2222-2222-222222222222"
    error_message = "whoever applies must be able to upload"
  }
  assert {
    condition     = sort(keys(azurerm_management_lock.this)) == tolist(["cluster", "data", "registry"])
    error_message = "destroy must be refused while protected"
  }
  assert {
    condition     = azurerm_bastion_host.this[0].tunneling_enabled && azurerm_subnet.bastion[0].address_prefixes == tolist(["10.40.66.0/26"]) && azurerm_network_security_rule.allow["api/allowed"].source_address_prefixes == toset(["10.40.66.0/26"])
    error_message = "a private API must have a way in"
  }
  assert {
    condition     = azurerm_virtual_network.this.address_space == toset(["10.40.0.0/17"]) && azurerm_kubernetes_cluster.this.network_profile[0].pod_cidr == "10.40.128.0/17" && azurerm_kubernetes_cluster.this.network_profile[0].dns_service_ip == "172.20.0.10"
    error_message = "the ranges must not overlap"
  }
  assert {
    condition     = azurerm_managed_redis.this[0].high_availability_enabled && azurerm_managed_redis.this[0].default_database[0].client_protocol == "Encrypted" && azurerm_managed_redis.this[0].public_network_access == "Disabled"
    error_message = "Redis must be encrypted, private and survive a node"
  }
  assert {
    condition     = contains(keys(azurerm_private_endpoint.this), "redis")
    error_message = "Redis must be reached from inside"
  }
  assert {
    condition     = output.gpu_machine.accelerator == "A10" && output.gpu_machine.type == "Standard_NV36ads_A10_v5"
    error_message = "Azure has no L4; the output must say what one gets"
  }
}

run "public_on_demand_and_without_extras" {
  command = plan
  variables {
    private_api         = false
    deletion_protection = false
    admins              = ["33333333-3333-3333-3333-333333333333"]
    allowed_cidrs       = ["203.0.113.0/24"]
    gpu_pool            = { spot = false, min = 2, max = 4 }
    gcs_fault_tolerance = false
    auto_shutdown       = { enabled = false }
    budget              = { monthly = 500, emails = ["ops@example.com"], hard_stop = false }
  }

  assert {
    condition     = !azurerm_kubernetes_cluster.this.private_cluster_enabled && !azurerm_kubernetes_cluster.this.private_cluster_public_fqdn_enabled && azurerm_kubernetes_cluster.this.api_server_access_profile[0].authorized_ip_ranges == toset(["203.0.113.0/24"])
    error_message = "the public endpoint must be limited"
  }
  assert {
    condition     = sort(keys(azurerm_kubernetes_cluster_node_pool.gpu)) == tolist(["gpuondemand"]) && azurerm_kubernetes_cluster_node_pool.gpu["gpuondemand"].min_count == 2
    error_message = "only an on-demand pool of at least two was asked for"
  }
  assert {
    condition     = [for toleration in output.gpu_tolerations : toleration.key] == ["nvidia.com/gpu"]
    error_message = "there is no spot taint to tolerate"
  }
  assert {
    condition     = length(azurerm_managed_redis.this) == 0 && length(azurerm_key_vault_secret.redis) == 0 && output.redis_address == ""
    error_message = "Redis and its password must not be made"
  }
  assert {
    condition     = length(azurerm_bastion_host.this) == 0 && length(azurerm_management_lock.this) == 0 && sort([for role in azurerm_role_assignment.admin : role.principal_id])[1] == "33333333-3333-3333-3333-333333333333"
    error_message = "neither tunnel nor lock was asked for; admins are named"
  }
  assert {
    condition     = length(azurerm_logic_app_trigger_recurrence.shutdown) == 0 && length(azurerm_consumption_budget_subscription.hard_stop) == 0
    error_message = "nothing must stop the nodes"
  }
}

run "spot_alone_by_day" {
  command = plan
  variables {
    gpu_pool      = { accelerator = "H100", accelerator_count = 1, on_demand_fallback = false, min = 1, zones = ["2"] }
    auto_shutdown = { cron = "30 20 * * *", resume_cron = "0 6 * * MON-FRI", timezone = "Europe/Berlin" }
    allowed_cidrs = ["10.8.0.0/16", "203.0.113.7/32"]
    tunnel        = false
  }

  assert {
    condition     = sort(keys(azurerm_kubernetes_cluster_node_pool.gpu)) == tolist(["gpuspot"]) && azurerm_kubernetes_cluster_node_pool.gpu["gpuspot"].vm_size == "Standard_NC40ads_H100_v5"
    error_message = "only a spot pool of Standard_NC40ads_H100_v5 was asked for"
  }
  assert {
    condition     = azurerm_kubernetes_cluster_node_pool.gpu["gpuspot"].zones == toset(["2"])
    error_message = "the pool must stay in its zone"
  }
  assert {
    condition     = azurerm_logic_app_trigger_recurrence.shutdown["suspend"].time_zone == "W. Europe Standard Time" && length(azurerm_logic_app_trigger_recurrence.shutdown["suspend"].schedule[0].on_these_days) == 7
    error_message = "every night, by Windows' name of the timezone"
  }
  assert {
    condition     = azurerm_logic_app_trigger_recurrence.shutdown["resume"].schedule[0].at_these_hours == toset([6]) && !contains(azurerm_logic_app_trigger_recurrence.shutdown["resume"].schedule[0].on_these_days, "Sunday")
    error_message = "at six, not on Sunday"
  }
  assert {
    condition     = azurerm_network_security_rule.allow["api/allowed"].source_address_prefixes == toset(["10.8.0.0/16"])
    error_message = "the named range must reach the API"
  }
  assert {
    condition     = azurerm_network_security_rule.deny["api"].source_address_prefix == "*"
    error_message = "nobody else must reach the API"
  }
}

run "the_wrong_credentials_and_nobody_at_the_vaults" {
  command = plan
  variables {
    account       = "99999999-9999-9999-9999-999999999999"
    allowed_cidrs = ["10.8.0.0/16"]
  }
  expect_failures = [azurerm_resource_group.this]
}
