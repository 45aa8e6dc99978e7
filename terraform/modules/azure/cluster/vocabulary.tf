# What Azure calls things: the vocabulary that variables.tf validates against. No provider is asked for it.

locals {
  account_pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
  account_example = "an Azure subscription id such as 00000000-0000-0000-0000-000000000000"
  region_pattern  = "^[a-z]+[0-9]?$"
  region_example  = "westeurope"
  zone_pattern    = "^[1-3]$"
  zone_example    = "1"
  admin_pattern   = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
  admin_example   = "the object id of a user or group in Entra"

  # Azure rents no L4: its nearest is the A10, as large (24 GB) and slower. The output gpu_machine says what one gets.
  gpu_machines = {
    L4x1   = "Standard_NV36ads_A10_v5"
    L4x2   = "Standard_NV72ads_A10_v5"
    A100x1 = "Standard_NC24ads_A100_v4"
    A100x2 = "Standard_NC48ads_A100_v4"
    A100x4 = "Standard_NC96ads_A100_v4"
    A100x8 = "Standard_ND96amsr_A100_v4"
    H100x1 = "Standard_NC40ads_H100_v5"
    H100x2 = "Standard_NC80adis_H100_v5"
    H100x8 = "Standard_ND96isr_H100_v5"
  }
  spot_only = []

  has_flex_start = false

  # Logic Apps know Windows' names of time zones only.
  timezone_names = {
    "UTC"                 = "UTC"
    "Africa/Johannesburg" = "South Africa Standard Time"
    "America/Chicago"     = "Central Standard Time"
    "America/Denver"      = "Mountain Standard Time"
    "America/Los_Angeles" = "Pacific Standard Time"
    "America/New_York"    = "Eastern Standard Time"
    "America/Sao_Paulo"   = "E. South America Standard Time"
    "Asia/Dubai"          = "Arabian Standard Time"
    "Asia/Kolkata"        = "India Standard Time"
    "Asia/Seoul"          = "Korea Standard Time"
    "Asia/Shanghai"       = "China Standard Time"
    "Asia/Singapore"      = "Singapore Standard Time"
    "Asia/Tokyo"          = "Tokyo Standard Time"
    "Australia/Sydney"    = "AUS Eastern Standard Time"
    "Europe/Amsterdam"    = "W. Europe Standard Time"
    "Europe/Athens"       = "GTB Standard Time"
    "Europe/Berlin"       = "W. Europe Standard Time"
    "Europe/Helsinki"     = "FLE Standard Time"
    "Europe/Istanbul"     = "Turkey Standard Time"
    "Europe/London"       = "GMT Standard Time"
    "Europe/Madrid"       = "Romance Standard Time"
    "Europe/Paris"        = "Romance Standard Time"
    "Europe/Rome"         = "W. Europe Standard Time"
    "Europe/Stockholm"    = "W. Europe Standard Time"
    "Europe/Warsaw"       = "Central European Standard Time"
    "Europe/Zurich"       = "W. Europe Standard Time"
  }
  timezones = keys(local.timezone_names)
}
