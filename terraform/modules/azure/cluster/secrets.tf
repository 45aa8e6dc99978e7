# Rights only: a secret comes to exist when whoever owns it runs `az keyvault secret set`. A vault has no secrets without
# value, and a value given here would stand in the state. Vaults encrypt secrets with keys of their own hardware; Azure
# offers no other.

locals {
  secrets = toset(concat(sort(tolist(var.secret_names)), var.gcs_fault_tolerance ? ["redis-password"] : []))
}

resource "azurerm_role_assignment" "secret" {
  for_each             = local.secrets
  scope                = "${azurerm_key_vault.this["secrets"].id}/secrets/${each.key}" # this secret, not the vault
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.this["workload"].principal_id
}
