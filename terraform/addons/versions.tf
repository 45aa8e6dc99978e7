terraform {
  required_version = ">= 1.11" # the same for all clouds; GCP and Azure have write-only arguments

  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.1"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 2.38"
    }
  }
}
