# The variables of all three modules, each of which links to this file. What differs between clouds (how a zone is written,
# which machines exist) stands in each module's cloud.tf, so that even the validations read the same.

variable "name" {
  type        = string
  description = "Name of the deployment; with the environment it begins the name of everything that is made."
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", var.name))
    error_message = "name must be 2 to 16 characters of a-z, 0-9 and '-', starting with a letter (storage accounts and roles have short names); got '${var.name}'."
  }
}

variable "environment" {
  type        = string
  description = "Stage of the deployment, such as dev, staging or prod."
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.environment))
    error_message = "environment must be 2 to 8 characters of a-z and 0-9, starting with a letter; got '${var.environment}'."
  }
}

variable "account" {
  type        = string
  description = "Who pays: the AWS account id, GCP project id or Azure subscription id. Credentials for another one are refused."
  nullable    = false

  validation {
    condition     = can(regex(local.account_pattern, var.account))
    error_message = "account must be ${local.account_example}; got '${var.account}'."
  }
}

variable "region" {
  type        = string
  description = "Region of the cluster, the bucket, the keys and the secrets."
  nullable    = false

  validation {
    condition     = can(regex(local.region_pattern, var.region))
    error_message = "region must be written like ${local.region_example}; got '${var.region}'."
  }
}

variable "zones" {
  type        = list(string)
  description = "Zones for the nodes, two to four, as the cloud writes them: us-east-1a, us-central1-a, or 1."
  nullable    = false

  validation {
    condition     = alltrue([for zone in var.zones : can(regex(local.zone_pattern, zone))])
    error_message = "every zone must be one of ${var.region}, written like ${local.zone_example}; got ${join(", ", var.zones)}."
  }
  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 4 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones must be two to four different zones (a control plane needs two); got ${join(", ", var.zones)}."
  }
}

variable "kubernetes_version" {
  type        = string
  description = "Minor version of Kubernetes; patches are the cloud's business."
  default     = "1.36"
  nullable    = false

  validation {
    condition     = can(regex("^1\\.[3-9][0-9]$", var.kubernetes_version))
    error_message = "kubernetes_version must be a minor version such as 1.36; got '${var.kubernetes_version}'."
  }
}

variable "network" {
  type = object({
    cidr         = optional(string, "10.40.0.0/16")
    service_cidr = optional(string, "172.20.0.0/20")
  })
  description = "Address ranges: cidr (a private /16) is divided among nodes, pods and endpoints; service_cidr is for cluster services, outside it."
  default     = {}
  nullable    = false

  validation {
    condition     = can(regex("^(10\\.\\d+|172\\.(1[6-9]|2\\d|3[01])|192\\.168)\\.0\\.0/16$", var.network.cidr)) && can(cidrhost(var.network.cidr, 0))
    error_message = "network.cidr must be a private /16 such as 10.40.0.0/16, because the ranges inside it are derived; got '${var.network.cidr}'."
  }
  validation {
    condition     = can(regex("^(10|172|192)\\..*/(1[6-9]|2[0-4])$", var.network.service_cidr)) && can(cidrhost(var.network.service_cidr, 0))
    error_message = "network.service_cidr must be a private range of /16 to /24; got '${var.network.service_cidr}'."
  }
  validation {
    condition     = try(cidrhost("${cidrhost(var.network.service_cidr, 0)}/16", 0) != cidrhost(var.network.cidr, 0), true)
    error_message = "network.service_cidr ${var.network.service_cidr} must lie outside network.cidr ${var.network.cidr}."
  }
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

  validation {
    condition     = alltrue([for admin in var.admins : can(regex(local.admin_pattern, admin))])
    error_message = "admins must be written like ${local.admin_example}; got ${join(", ", var.admins)}."
  }
}

variable "allowed_cidrs" {
  type        = list(string)
  description = "IPv4 ranges that may reach the Kubernetes API: of your VPN or peered networks when it is private, of your offices when it is public. Azure's vaults, bucket and registry let the public ones among them in: name the address that you apply from."
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrhost(cidr, 0)) && can(regex("^[0-9.]+/[0-9]+$", cidr))])
    error_message = "allowed_cidrs must be IPv4 ranges such as 203.0.113.0/24; got ${join(", ", var.allowed_cidrs)}."
  }
  validation {
    # A limit on the prefix, not a test for 0.0.0.0/0: two halves of the internet are the internet too.
    condition     = alltrue([for cidr in var.allowed_cidrs : try(tonumber(split("/", cidr)[1]) >= (can(regex(local.private_range, cidr)) ? 8 : 16), true)])
    error_message = "allowed_cidrs must be /16 or narrower, private ranges /8 or narrower; got ${join(", ", var.allowed_cidrs)}."
  }
  validation {
    condition     = var.private_api || length(var.allowed_cidrs) > 0
    error_message = "a public API (private_api = false) must name allowed_cidrs; without them the cloud lets everyone try."
  }
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

  validation {
    condition     = var.cpu_pool.min >= 2 && var.cpu_pool.min <= var.cpu_pool.max && var.cpu_pool.max <= 20 && floor(var.cpu_pool.min) == var.cpu_pool.min && floor(var.cpu_pool.max) == var.cpu_pool.max
    error_message = "cpu_pool must keep 2 <= min <= max <= 20, in whole nodes; got min ${var.cpu_pool.min}, max ${var.cpu_pool.max}."
  }
  validation {
    condition     = contains([8, 16, 32], var.cpu_pool.vcpus)
    error_message = "cpu_pool.vcpus must be 8, 16 or 32, because a worker asks for 6 and for 24 GiB; got ${var.cpu_pool.vcpus}."
  }
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

  validation {
    condition     = contains(keys(local.gpu_machines), "${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}")
    error_message = "gpu_pool: this cloud has ${join(", ", keys(local.gpu_machines))}; got ${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}."
  }
  validation {
    condition     = var.gpu_pool.max >= 1 && var.gpu_pool.max <= 8 && floor(var.gpu_pool.max) == var.gpu_pool.max
    error_message = "gpu_pool.max must be 1 to 8 nodes; got ${var.gpu_pool.max}."
  }
  validation {
    condition     = var.gpu_pool.min >= 0 && var.gpu_pool.min <= var.gpu_pool.max && floor(var.gpu_pool.min) == var.gpu_pool.min
    error_message = "gpu_pool.min must be 0 to max (${var.gpu_pool.max}); got ${var.gpu_pool.min}."
  }
  validation {
    condition     = (var.gpu_pool.spot && !var.gpu_pool.on_demand_fallback) || !contains(local.spot_only, "${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count}")
    error_message = "gpu_pool: this cloud rents ${var.gpu_pool.accelerator}x${var.gpu_pool.accelerator_count} as spot only; set spot = true and on_demand_fallback = false."
  }
  validation {
    condition     = contains(["managed", "none"], var.gpu_pool.driver)
    error_message = "gpu_pool.driver must be managed or none; got '${var.gpu_pool.driver}'."
  }
  validation {
    condition     = alltrue([for zone in var.gpu_pool.zones : contains(var.zones, zone)])
    error_message = "gpu_pool.zones must be among zones (${join(", ", var.zones)}); got ${join(", ", var.gpu_pool.zones)}."
  }
  validation {
    condition     = var.gpu_pool.reservation == "" || !var.gpu_pool.spot
    error_message = "gpu_pool: a reservation is not spot; set spot = false with reservation '${var.gpu_pool.reservation}'."
  }
  validation {
    condition     = !var.gpu_pool.flex_start || local.has_flex_start && var.gpu_pool.reservation == "" && (var.gpu_pool.spot ? var.gpu_pool.on_demand_fallback : var.gpu_pool.min == 0)
    error_message = "gpu_pool.flex_start is of GCP; it fills no reservation, keeps no minimum, and with spot it is the on_demand_fallback."
  }
}

variable "key_rotation_days" {
  type        = number
  description = "Days after which every encryption key is replaced by a new version."
  default     = 90
  nullable    = false

  validation {
    condition     = var.key_rotation_days >= 90 && var.key_rotation_days <= 730 && floor(var.key_rotation_days) == var.key_rotation_days
    error_message = "key_rotation_days must be 90 to 730; got ${var.key_rotation_days}."
  }
}

variable "secret_names" {
  type        = set(string)
  description = "Secrets that the workload may read. Their values are put into the cloud's vault by hand, so that no state file holds them."
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.secret_names : can(regex("^[a-z][a-z0-9-]{1,40}$", name)) && name != "redis-password"])
    error_message = "secret_names must be 2 to 41 characters of a-z, 0-9 and '-', and not redis-password, which is made here; got ${join(", ", var.secret_names)}."
  }
}

variable "service_account" {
  type = object({
    namespace = optional(string, "semrec")
    name      = optional(string, "semrec")
  })
  description = "Kubernetes service account whose pods get the workload's cloud identity; NAME-serve gets the service's."
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for part in [var.service_account.namespace, var.service_account.name] : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", part))])
    error_message = "service_account must have a namespace and a name of a-z, 0-9 and '-'; got ${var.service_account.namespace}/${var.service_account.name}."
  }
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

  validation {
    condition     = var.budget.monthly >= 1 && floor(var.budget.monthly) == var.budget.monthly
    error_message = "budget.monthly must be a whole amount of at least 1; got ${var.budget.monthly}."
  }
  validation {
    condition     = length(var.budget.thresholds) >= 1 && length(var.budget.thresholds) <= 4 && length(distinct(var.budget.thresholds)) == length(var.budget.thresholds) && alltrue([for percent in var.budget.thresholds : percent >= 1 && percent <= 200])
    error_message = "budget.thresholds must be one to four different percentages of 1 to 200; got ${join(", ", var.budget.thresholds)}."
  }
  validation {
    condition     = length(var.budget.emails) >= 1 && length(var.budget.emails) <= 5 && alltrue([for email in var.budget.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "budget.emails must be one to five addresses; got ${join(", ", var.budget.emails)}."
  }
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

  validation {
    condition     = alltrue([for cron in compact([var.auto_shutdown.cron, var.auto_shutdown.resume_cron]) : can(regex(local.cron_pattern, cron))])
    error_message = "auto_shutdown: a cron must be like '0 20 * * MON-FRI' (what all three clouds can say); got '${var.auto_shutdown.cron}' and '${coalesce(var.auto_shutdown.resume_cron, "none")}'."
  }
  validation {
    condition     = can(regex("^(UTC|[A-Z][A-Za-z]+/[A-Z][A-Za-z_/-]+)$", var.auto_shutdown.timezone)) && (length(local.timezones) == 0 || contains(local.timezones, var.auto_shutdown.timezone))
    error_message = "auto_shutdown.timezone must be UTC or an IANA name such as Europe/Berlin${length(local.timezones) == 0 ? "" : ", here one of ${join(", ", local.timezones)}"}; got '${var.auto_shutdown.timezone}'."
  }
  validation {
    condition     = var.environment != "prod" || !var.auto_shutdown.enabled || var.auto_shutdown.resume_cron != null
    error_message = "auto_shutdown: environment prod would stop at '${var.auto_shutdown.cron}' and stay down; give a resume_cron, or enabled = false."
  }
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

  validation {
    # The narrowest cloud (GCP) sets the alphabet, so that the same labels go everywhere.
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "labels must have keys and values of a-z, 0-9, '_' and '-', at most 63 characters, keys starting with a letter; got ${jsonencode(var.labels)}."
  }
}

locals {
  private_range = "^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)"

  # Minute and hour as numbers, any day of the month: EventBridge, Cloud Scheduler and Logic Apps agree on no more.
  cron_pattern = "^[0-5]?[0-9] ([01]?[0-9]|2[0-3]) \\* \\* (\\*|MON-FRI|(MON|TUE|WED|THU|FRI|SAT|SUN)(,(MON|TUE|WED|THU|FRI|SAT|SUN))*)$"
}
