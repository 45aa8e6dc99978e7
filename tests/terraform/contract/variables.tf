# The types of the cluster modules' outputs, of which Terraform has no declaration of its own.

variable "cluster_name" {
  type = string
}

variable "cluster_endpoint" {
  type = string
}

variable "kubeconfig_command" {
  type = string
}

variable "tunnel_command" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "pool_names" {
  type = object({ cpu = list(string), gpu = list(string) })
}

variable "gpu_node_selector" {
  type = map(string)
}

variable "gpu_tolerations" {
  type = list(object({ key = string, operator = string, value = string, effect = string }))
}

variable "gpu_machine" {
  type = object({ type = string, accelerator = string, count = number, max_nodes = number })
}

variable "data_uri" {
  type = string
}

variable "kms_key_id" {
  type = string
}

variable "registry" {
  type = string
}

variable "service_account_annotations" {
  type = map(string)
}

variable "serving_account_annotations" {
  type = map(string)
}

variable "pod_labels" {
  type = map(string)
}

variable "secret_references" {
  type = map(string)
}

variable "redis_address" {
  type = string
}

variable "redis_ca" {
  type = string
}

variable "commands" {
  type = map(string)
}

variable "budget_id" {
  type = string
}

variable "suspend_command" {
  type = string
}

variable "resume_command" {
  type = string
}

variable "addons" {
  type = object({
    cloud             = string
    region            = string
    cluster_name      = string
    kubernetes_minor  = string
    gpu_driver        = string
    gpu_node_selector = map(string)
    gpu_tolerations   = list(object({ key = string, operator = string, value = string, effect = string }))
    gpu_pool_names    = list(string)
    disk_key_id       = string
  })
}
