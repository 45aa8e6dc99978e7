# What must be refused before anything is made; each run gives several variables a wrong value, and all must complain.
# The same runs in all three modules.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  name        = "semrec"
  environment = "test"
  account     = "123456789012"
  region      = "us-east-1"
  zones       = ["us-east-1a", "us-east-1b"]
  budget      = { monthly = 500, emails = ["ops@example.com"] }
}

run "a_zone_of_another_region_and_an_open_public_api" {
  command = plan
  variables {
    zones         = ["us-east-1a", "us-west-2a"]
    private_api   = false
    allowed_cidrs = ["0.0.0.0/0"]
    cpu_pool      = { min = 1 }
    network       = { cidr = "172.20.0.0/16" } # the services are there
    auto_shutdown = { cron = "*/5 * * * *" }
    budget        = { monthly = 0, emails = ["ops@example.com"] }
  }
  expect_failures = [var.zones, var.allowed_cidrs, var.cpu_pool, var.network, var.auto_shutdown, var.budget]
}

run "nine_gpu_nodes_and_the_internet_in_two_halves" {
  command = plan
  variables {
    gpu_pool      = { max = 9 }
    private_api   = false
    allowed_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
    cpu_pool      = { max = 21 }
    network       = { cidr = "8.8.0.0/16" }
    auto_shutdown = { timezone = "CET" }
    budget        = { monthly = 500, emails = [] }
    secret_names  = ["redis-password"] # made here
  }
  expect_failures = [var.gpu_pool, var.allowed_cidrs, var.cpu_pool, var.network, var.auto_shutdown, var.budget, var.secret_names]
}

run "a_zone_that_does_not_exist_and_a_public_api_for_nobody_in_particular" {
  command = plan
  variables {
    zones       = ["us-east-1a", "us-east-1z"]
    private_api = false
    cpu_pool    = { vcpus = 6 }
    network     = { cidr = "10.40.0.0/20" }
  }
  expect_failures = [var.zones, var.allowed_cidrs, var.cpu_pool, var.network]
}

run "no_gpu_node_ever_and_an_open_private_api" {
  command = plan
  variables {
    gpu_pool      = { max = 0 }
    allowed_cidrs = ["0.0.0.0/0"]
    budget        = { monthly = 500, thresholds = [50, 50], emails = ["ops@example.com"] }
  }
  expect_failures = [var.gpu_pool, var.allowed_cidrs, var.budget]
}

run "one_zone_and_a_cidr_that_is_none" {
  command = plan
  variables {
    zones         = ["us-east-1a"]
    allowed_cidrs = ["office"]
  }
  expect_failures = [var.zones, var.allowed_cidrs]
}

run "a_zone_twice" {
  command = plan
  variables {
    zones = ["us-east-1a", "us-east-1a"]
  }
  expect_failures = [var.zones]
}

run "a_machine_that_is_not_rented_and_names_that_do_not_fit" {
  command = plan
  variables {
    account            = "films-prod"
    gpu_pool           = { accelerator = "A100", accelerator_count = 1 }
    key_rotation_days  = 1000
    kubernetes_version = "1.34.2"
    labels             = { Team = "Platform" }
    name               = "recommendations-for-all"
    environment        = "Production"
    service_account    = { name = "Semrec" }
  }
  expect_failures = [var.account, var.gpu_pool, var.key_rotation_days, var.kubernetes_version, var.labels, var.name, var.environment, var.service_account]
}

run "an_unknown_region" {
  command = plan
  variables {
    region = "West Europe"
  }
  expect_failures = [var.region]
}

run "a_minimum_above_the_maximum" {
  command = plan
  variables {
    gpu_pool = { min = 3, max = 2 }
  }
  expect_failures = [var.gpu_pool]
}

run "half_a_gpu_node" {
  command = plan
  variables {
    gpu_pool = { max = 1.5 }
  }
  expect_failures = [var.gpu_pool]
}

run "gpus_outside_the_zones" {
  command = plan
  variables {
    gpu_pool = { zones = ["nowhere"] }
  }
  expect_failures = [var.gpu_pool]
}

run "an_unknown_driver" {
  command = plan
  variables {
    gpu_pool = { driver = "mine" }
  }
  expect_failures = [var.gpu_pool]
}
