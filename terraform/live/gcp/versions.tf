terraform {
  required_version = ">= 1.11" # write-only arguments keep passwords out of the state

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}
