# Exactly the fields of the cluster module's output `addons`, so that this writes them all:
#   terraform -chdir=live/aws output -json addons > addons/terraform.tfvars.json

variable "cloud" {
  type        = string
  description = "Cloud of the cluster: aws, gcp or azure."
  nullable    = false

  validation {
    condition     = contains(["aws", "gcp", "azure"], var.cloud)
    error_message = "cloud must be aws, gcp or azure; got '${var.cloud}'."
  }
}

variable "region" {
  type        = string
  description = "Region of the cluster."
  nullable    = false
}

variable "cluster_name" {
  type        = string
  description = "Name of the cluster, by which the autoscaler on AWS finds its groups."
  nullable    = false
}

variable "kubernetes_minor" {
  type        = string
  description = "Minor version of Kubernetes, which the autoscaler's has to be too."
  nullable    = false
}

variable "gpu_driver" {
  type        = string
  description = "Who brings the GPU driver: managed (the cloud), or none (an operator of yours, which brings the device plugin too)."
  nullable    = false

  validation {
    condition     = contains(["managed", "none"], var.gpu_driver)
    error_message = "gpu_driver must be managed or none; got '${var.gpu_driver}'."
  }
}

variable "gpu_node_selector" {
  type        = map(string)
  description = "Node selector of the GPU nodes."
  nullable    = false

  validation {
    condition     = length(var.gpu_node_selector) > 0
    error_message = "gpu_node_selector must not be empty: the device plugin would run on every node."
  }
}

variable "gpu_tolerations" {
  type        = list(object({ key = string, operator = string, value = string, effect = string }))
  description = "Tolerations of the GPU nodes' taints, the spot taint of AKS among them."
  nullable    = false

  validation {
    condition     = contains([for toleration in var.gpu_tolerations : toleration.key], "nvidia.com/gpu")
    error_message = "gpu_tolerations must tolerate nvidia.com/gpu; got ${jsonencode(var.gpu_tolerations)}."
  }
}

variable "gpu_pool_names" {
  type        = list(string)
  description = "GPU pools in the order in which they are tried: spot first."
  nullable    = false

  validation {
    condition     = length(var.gpu_pool_names) >= 1
    error_message = "gpu_pool_names must name at least one pool."
  }
}

variable "disk_key_id" {
  type        = string
  description = "What encrypts the pods' volumes: a key, or on Azure a disk encryption set."
  nullable    = false
}
