# What is planned, with Google Cloud mocked.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012", billing_account = "000000-AAAAAA-BBBBBB", org_id = "1234", folder_id = "" }
  }
}

variables {
  name        = "semrec"
  environment = "test"
  account     = "films-test"
  region      = "us-central1"
  zones       = ["us-central1-a", "us-central1-b"]
  budget      = { monthly = 500, emails = ["ops@example.com"] }
}

run "defaults_are_private_encrypted_and_scale_from_zero" {
  command = plan

  assert {
    condition     = google_container_cluster.this.private_cluster_config[0].enable_private_nodes && google_container_cluster.this.private_cluster_config[0].enable_private_endpoint
    error_message = "nodes and API must be private"
  }
  assert {
    condition     = length(google_container_cluster.this.master_authorized_networks_config) == 1
    error_message = "the list of authorised networks must be present even when empty"
  }
  assert {
    condition     = google_container_cluster.this.database_encryption[0].state == "ENCRYPTED"
    error_message = "etcd must be encrypted with a key of ours"
  }
  assert {
    condition     = google_container_cluster.this.in_transit_encryption_config == "IN_TRANSIT_ENCRYPTION_INTER_NODE_TRANSPARENT"
    error_message = "traffic between nodes must be encrypted"
  }
  assert {
    condition     = sort(keys(google_container_node_pool.gpu)) == tolist(["gpu-ondemand", "gpu-spot"])
    error_message = "there must be a spot pool and its on-demand fallback"
  }
  assert {
    condition     = google_container_node_pool.cpu["cpu"].autoscaling[0].total_min_node_count == 2 && google_container_node_pool.cpu["cpu"].autoscaling[0].total_max_node_count == 20
    error_message = "the CPU pool must be 2 to 20 in all zones together"
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.gpu : pool.autoscaling[0].total_min_node_count == 0 && pool.autoscaling[0].total_max_node_count == 8 && pool.initial_node_count == 0])
    error_message = "GPU pools must be 0 to 8 and start at 0"
  }
  assert {
    condition     = google_container_node_pool.gpu["gpu-spot"].node_config[0].spot && !google_container_node_pool.gpu["gpu-ondemand"].node_config[0].spot
    error_message = "only gpu-spot is spot"
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.gpu : one(pool.node_config[0].taint).key == "nvidia.com/gpu" && one(pool.node_config[0].taint).effect == "NO_SCHEDULE"])
    error_message = "GPU pools must say their taint themselves"
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.gpu : pool.node_config[0].guest_accelerator[0].type == "nvidia-l4" && pool.node_config[0].guest_accelerator[0].gpu_driver_installation_config[0].gpu_driver_version == "LATEST"])
    error_message = "GPU pools must have the accelerator and its driver"
  }
  assert {
    condition     = alltrue([for key in google_kms_crypto_key.this : key.rotation_period == "7776000s"])
    error_message = "every key must rotate after 90 days"
  }
  assert {
    condition     = google_storage_bucket.data.versioning[0].enabled && google_storage_bucket.data.public_access_prevention == "enforced" && google_org_policy_policy.tls_only[0].spec[0].rules[0].enforce == "TRUE"
    error_message = "the bucket must be versioned, private and TLS only"
  }
  assert {
    condition     = google_compute_subnetwork.nodes.ip_cidr_range == "10.40.0.0/20" && google_compute_subnetwork.nodes.secondary_ip_range[0].ip_cidr_range == "10.40.128.0/17" && google_compute_subnetwork.control_plane.ip_cidr_range == "10.40.64.0/28"
    error_message = "the ranges must not overlap"
  }
  assert {
    condition     = google_redis_instance.this[0].tier == "STANDARD_HA" && google_redis_instance.this[0].auth_enabled && google_redis_instance.this[0].transit_encryption_mode == "SERVER_AUTHENTICATION"
    error_message = "Redis must be encrypted and survive a zone"
  }
  assert {
    condition     = google_redis_instance.this[0].connect_mode == "DIRECT_PEERING" && google_redis_instance.this[0].reserved_ip_range == "10.40.65.0/29"
    error_message = "no service connection may outlive Redis and hold up destroy"
  }
  assert {
    condition     = alltrue([for pool in merge(google_container_node_pool.cpu, google_container_node_pool.gpu) : pool.node_config[0].gcfs_config[0].enabled])
    error_message = "a fresh node must not wait for the whole image"
  }
  assert {
    condition     = google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].allow_external_traffic && endswith(output.kubeconfig_command, " --dns-endpoint")
    error_message = "a private API must have a way in"
  }
  assert {
    condition     = length(setsubtract(["binaryauthorization", "cloudbilling", "cloudresourcemanager", "containersecurity", "serviceusage"], keys(google_project_service.this))) == 0
    error_message = "every API that is called must be enabled"
  }
  assert {
    condition     = google_redis_instance.this[0].location_id != google_redis_instance.this[0].alternative_location_id
    error_message = "the replica must stand in another zone"
  }
}

run "public_on_demand_and_without_extras" {
  command = plan
  variables {
    private_api         = false
    admins              = ["group:ops@example.com"]
    allowed_cidrs       = ["203.0.113.0/24"]
    gpu_pool            = { spot = false, min = 2, max = 4 }
    gcs_fault_tolerance = false
    auto_shutdown       = { enabled = false }
    budget              = { monthly = 500, emails = ["ops@example.com"], hard_stop = false }
  }

  assert {
    condition     = !google_container_cluster.this.private_cluster_config[0].enable_private_endpoint && [for block in google_container_cluster.this.master_authorized_networks_config[0].cidr_blocks : block.cidr_block] == ["203.0.113.0/24"]
    error_message = "the public endpoint must be limited"
  }
  assert {
    condition     = sort(keys(google_container_node_pool.gpu)) == tolist(["gpu-ondemand"]) && google_container_node_pool.gpu["gpu-ondemand"].autoscaling[0].total_min_node_count == 2
    error_message = "only an on-demand pool of at least two was asked for"
  }
  assert {
    condition     = length(google_redis_instance.this) == 0 && length(google_secret_manager_secret.this) == 0 && output.redis_address == "" && output.redis_ca == ""
    error_message = "Redis and its password must not be made"
  }
  assert {
    condition     = !google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].allow_external_traffic && google_project_iam_member.admin["group:ops@example.com"].role == "roles/container.admin"
    error_message = "a public API has its allowed ranges and no other way in; admins are named"
  }
  assert {
    condition     = length(google_cloud_scheduler_job.shutdown) == 0 && length(google_eventarc_trigger.hard_stop) == 0
    error_message = "nothing must stop the nodes"
  }
}

run "spot_alone_by_day" {
  command = plan
  variables {
    gpu_pool      = { accelerator = "H100", accelerator_count = 1, on_demand_fallback = false, min = 1, zones = ["us-central1-b"] }
    auto_shutdown = { cron = "30 20 * * *", resume_cron = "0 6 * * MON-FRI", timezone = "Europe/Berlin" }
  }

  assert {
    condition     = sort(keys(google_container_node_pool.gpu)) == tolist(["gpu-spot"]) && google_container_node_pool.gpu["gpu-spot"].node_config[0].machine_type == "a3-highgpu-1g"
    error_message = "only a spot pool of a3-highgpu-1g was asked for"
  }
  assert {
    condition     = google_container_node_pool.gpu["gpu-spot"].node_locations == toset(["us-central1-b"])
    error_message = "the pool must stay in its zone"
  }
  assert {
    condition     = google_cloud_scheduler_job.shutdown["suspend"].schedule == "30 20 * * *" && google_cloud_scheduler_job.shutdown["resume"].time_zone == "Europe/Berlin"
    error_message = "the crons and the timezone must be kept"
  }
}

run "queued_for_where_no_spot_is_left" {
  command = plan
  variables {
    gpu_pool = { flex_start = true }
  }

  assert {
    condition     = google_container_node_pool.gpu["gpu-ondemand"].node_config[0].flex_start && google_container_node_pool.gpu["gpu-ondemand"].node_config[0].max_run_duration == "604800s" && !google_container_node_pool.gpu["gpu-ondemand"].management[0].auto_repair
    error_message = "the fallback must wait in the queue, for a week's GPUs"
  }
  assert {
    condition     = google_container_node_pool.gpu["gpu-ondemand"].node_config[0].reservation_affinity[0].consume_reservation_type == "NO_RESERVATION"
    error_message = "what is queued for fills no reservation"
  }
  assert {
    condition     = !google_container_node_pool.gpu["gpu-spot"].node_config[0].flex_start && google_container_node_pool.gpu["gpu-spot"].management[0].auto_repair
    error_message = "spot is not queued for"
  }
}

run "a_project_without_organisation_and_without_a_bill" {
  command = plan
  override_data {
    target = data.google_project.this
    values = { number = "123456789012", billing_account = "", org_id = "", folder_id = "" }
  }
  expect_failures = [google_billing_budget.this]

  assert {
    condition     = length(google_org_policy_policy.tls_only) == 0
    error_message = "a policy needs an organisation"
  }
}

run "outputs_after_an_apply" {
  command = apply
  override_resource {
    target = google_redis_instance.this
    values = { server_ca_certs = [{ cert = "PEM 1\n" }, { cert = "PEM 2\n" }] }
  }
  variables {
    secret_names = ["grafana-token"]
  }

  assert {
    condition     = output.data_uri == "gs://films-test-semrec-test-data" && output.registry == "us-central1-docker.pkg.dev/films-test/semrec-test/semrec-test"
    error_message = "got ${output.data_uri} and ${output.registry}"
  }
  assert {
    condition     = sort(keys(output.secret_references)) == tolist(["grafana-token", "redis-password"]) && startswith(output.redis_address, "rediss://")
    error_message = "secrets must be named and Redis asked by TLS"
  }
  assert {
    condition     = output.redis_ca == "PEM 1\nPEM 2\n"
    error_message = "Ray must be given the authority that signs Redis's certificate"
  }
  assert {
    condition     = output.commands.docker_login == "gcloud auth configure-docker --quiet us-central1-docker.pkg.dev" && output.commands.upload == "gcloud storage cp --recursive incoming gs://films-test-semrec-test-data/" && endswith(output.commands.redis_password, "--secret semrec-test-redis-password")
    error_message = "the guide's commands must name what was made"
  }
  assert {
    condition     = output.pool_names.gpu == ["gpu-spot", "gpu-ondemand"] && output.addons.gpu_pool_names == ["gpu-spot", "gpu-ondemand"]
    error_message = "spot must come first"
  }
  assert {
    condition     = google_storage_bucket_iam_member.workload.role == "roles/storage.objectUser" && sort(keys(google_secret_manager_secret_iam_member.workload)) == tolist(["grafana-token", "redis-password"])
    error_message = "the workload must have the bucket and the named secrets only"
  }
  assert {
    condition     = google_storage_bucket_iam_member.serving_reads.role == "roles/storage.objectViewer" && google_storage_bucket_iam_member.serving_adds.role == "roles/storage.objectCreator" && google_storage_bucket_iam_member.serving_adds.condition[0].expression == "resource.name.extract('/objects/{workspace}/overlay/segment-') != '' || resource.name.extract('/objects/{workspace}/events/segment-') != ''"
    error_message = "the service must read, and add to two logs only"
  }
  assert {
    condition     = google_workflows_workflow.power.user_env_vars["CLUSTER"] != "" && length(jsondecode(google_workflows_workflow.power.user_env_vars["POOLS"])) == 3
    error_message = "all three pools must be suspended"
  }
}
