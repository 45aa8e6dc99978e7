terraform {
  required_version = ">= 1.9" # validations that look at locals and other variables

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
  }
}
