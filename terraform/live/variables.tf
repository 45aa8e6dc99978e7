# The cluster modules' variables, passed on as they are by all roots, which link to this file; modules/variables.tf checks them.
# A test compares the two.

variable "name" {
  type        = string
  description = "Name of the deployment; with the environment it begins the name of everything that is made."
  nullable    = false
}

variable "environment" {
  type        = string
  description = "Stage of the deployment, such as dev, staging or prod."
  nullable    = false
}

variable "account" {
  type        = string
  description = "Who pays: the AWS account id, GCP project id or Azure subscription id. Credentials for another one are refused."
  nullable    = false
}

variable "region" {
  type        = string
  description = "Region of the cluster, the bucket, the keys and the secrets."
  nullable    = false
}

variable "zones" {
  type        = list(string)
  description = "Zones for the nodes, two to four, as the cloud writes them: us-east-1a, us-central1-a, or 1."
  nullable    = false
}

variable "kubernetes_version" {
  type        = string
  description = "Minor version of Kubernetes; patches are the cloud's business."
  default     = "1.36"
  nullable    = false
}

variable "network" {
  type = object({
    cidr         = optional(string, "10.40.0.0/16")
    service_cidr = optional(string, "172.20.0.0/20")
  })
  description = "Address ranges: cidr (a private /16) is divided among nodes, pods and endpoints; service_cidr is for cluster services, outside it."
  default     = {}
  nullable    = false
}

variable "private_api" {
  type        = bool
  description = "Whether the Kubernetes API has a private address only. A public one needs allowed_cidrs."
  default     = true
  nullable    = false
}

variable "tunnel" {
  type        = bool
  description = "Whether a private API is given a way in that asks the cloud's IAM who comes: Session Manager on AWS, GKE's DNS endpoint, Bastion on Azure (0.29 dollars an hour). Not needed with a VPN or a peered network."
  default     = true
  nullable    = false
}

variable "admins" {
  type        = set(string)
  description = "Who may administer the cluster besides whoever applies this: ARNs of IAM roles or users, IAM members such as group:ops@example.com, or object ids of Entra."
  default     = []
  nullable    = false
}

variable "allowed_cidrs" {
  type        = list(string)
  description = "IPv4 ranges that may reach the Kubernetes API: of your VPN or peered networks when it is private, of your offices when it is public. Azure's vaults, bucket and registry let the public ones among them in: name the address that you apply from."
  default     = []
  nullable    = false
}

variable "cpu_pool" {
  type = object({
    min   = optional(number, 2)
    max   = optional(number, 20)
    vcpus = optional(number, 8)
  })
  description = "Nodes without accelerator, on demand because the Ray head and the operators live there: min and max nodes (2 to 20) and vCPUs of each, with 4 GiB per vCPU."
  default     = {}
  nullable    = false
}

variable "gpu_pool" {
  type = object({
    accelerator        = optional(string, "L4")
    accelerator_count  = optional(number, 1)
    min                = optional(number, 0)
    max                = optional(number, 8)
    spot               = optional(bool, true)
    on_demand_fallback = optional(bool, true)
    driver             = optional(string, "managed")
    zones              = optional(list(string), [])
    reservation        = optional(string, "")
    flex_start         = optional(bool, false)
  })
  description = <<-EOT
    Nodes with accelerators: type (L4, A100, H100) and count per node, min and max nodes, spot first, an on-demand pool of
    the same size for when no spot capacity is left, driver ("managed" by the cloud, or "none" where an operator brings
    it), the zones that have the machine (empty: all zones), and the reservation to fill instead of asking the market:
    an AWS capacity reservation or Capacity Block (H100, A100), a GCP reservation, an Azure capacity reservation group.
    flex_start (GCP): what is not spot is queued for until GPUs come, and goes after seven days at the latest.
  EOT
  default     = {}
  nullable    = false
}

variable "key_rotation_days" {
  type        = number
  description = "Days after which every encryption key is replaced by a new version."
  default     = 90
  nullable    = false
}

variable "secret_names" {
  type        = set(string)
  description = "Secrets that the workload may read. Their values are put into the cloud's vault by hand, so that no state file holds them."
  default     = []
  nullable    = false
}

variable "service_account" {
  type = object({
    namespace = optional(string, "semrec")
    name      = optional(string, "semrec")
  })
  description = "Kubernetes service account whose pods get the workload's cloud identity; NAME-serve gets the service's."
  default     = {}
  nullable    = false
}

variable "gcs_fault_tolerance" {
  type        = bool
  description = "Whether a replicated Redis is made for Ray's global control store, so that a new head finds the state of the lost one."
  default     = true
  nullable    = false
}

variable "budget" {
  type = object({
    monthly    = number
    thresholds = optional(list(number), [50, 80, 100])
    emails     = list(string)
    hard_stop  = optional(bool, true)
  })
  description = "Monthly budget in the currency of the bill (USD on AWS), percentages at which the emails are written to, and whether all nodes are stopped at 100 %."
  nullable    = false
}

variable "auto_shutdown" {
  type = object({
    enabled     = optional(bool, true)
    cron        = optional(string, "0 20 * * *")
    resume_cron = optional(string)
    timezone    = optional(string, "UTC")
  })
  description = "When all nodes are suspended, and when they come back (null: by the output resume_command). Five fields; minute and hour are numbers, the last one is * or days such as MON-FRI or SAT,SUN."
  default     = {}
  nullable    = false
}

variable "deletion_protection" {
  type        = bool
  description = "Whether destroy refuses to delete data: a filled bucket, secrets and images; on GCP and Azure the cluster too."
  default     = true
  nullable    = false
}

variable "labels" {
  type        = map(string)
  description = "Labels (tags) on everything that can carry them, beside those that the module sets."
  default     = {}
  nullable    = false
}
