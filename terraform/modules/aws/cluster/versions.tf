terraform {
  required_version = ">= 1.11" # the same for all clouds; GCP and Azure have write-only arguments

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
