# What is planned, with AWS mocked. Everything but Redis and the bucket's life cycle is also applied on an emulator (tests/terraform).

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_eks_addon_version" {
    defaults = { version = "v1.36.0-eksbuild.1" }
  }
  mock_data "aws_ssm_parameter" {
    defaults = { insecure_value = "1.36.2-20261120" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
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

run "defaults_are_private_encrypted_and_scale_from_zero" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "the API must be private only"
  }
  assert {
    condition     = one(aws_s3_bucket_lifecycle_configuration.data.rule).noncurrent_version_expiration[0].noncurrent_days == 30 && one(aws_s3_bucket_lifecycle_configuration.data.rule).abort_incomplete_multipart_upload[0].days_after_initiation == 7
    error_message = "what was replaced must be kept for a month, and what was never finished for a week"
  }
  assert {
    condition     = one(aws_eks_cluster.this.encryption_config[0].resources) == "secrets"
    error_message = "etcd must be encrypted with a key of ours"
  }
  assert {
    condition     = sort(keys(aws_eks_node_group.this)) == tolist(["cpu-a", "cpu-b", "gpu-ondemand", "gpu-spot"])
    error_message = "there must be a CPU pool in each zone, a spot pool and its on-demand fallback"
  }
  assert {
    condition = alltrue([for name, limits in { cpu-a = [1, 10], cpu-b = [1, 10], gpu-spot = [0, 8], gpu-ondemand = [0, 8] } :
    aws_eks_node_group.this[name].scaling_config[0].min_size == limits[0] && aws_eks_node_group.this[name].scaling_config[0].max_size == limits[1]])
    error_message = "pools must be 2 to 20 in all zones together and 0 to 8"
  }
  assert {
    condition     = aws_eks_node_group.this["gpu-spot"].capacity_type == "SPOT" && aws_eks_node_group.this["gpu-ondemand"].capacity_type == "ON_DEMAND" && aws_eks_node_group.this["cpu-a"].capacity_type == "ON_DEMAND"
    error_message = "only gpu-spot is spot"
  }
  assert {
    condition     = aws_eks_node_group.this["gpu-spot"].ami_type == "AL2023_x86_64_NVIDIA" && one(aws_eks_node_group.this["gpu-spot"].taint).key == "nvidia.com/gpu"
    error_message = "GPU nodes must have the driver and the taint"
  }
  assert {
    condition     = aws_eks_node_group.this["gpu-spot"].labels["k8s.amazonaws.com/accelerator"] == "nvidia-l4" && one(aws_autoscaling_group_tag.this["gpu-spot/label/k8s.amazonaws.com/accelerator"].tag).value == "nvidia-l4"
    error_message = "the autoscaler must know that a new GPU node will have GPUs, or it rents a second one"
  }
  assert {
    condition     = length(aws_eks_node_group.this["gpu-spot"].instance_types) == 4 && aws_eks_node_group.this["gpu-ondemand"].instance_types == tolist(["g6.2xlarge"])
    error_message = "spot must ask for several types, on demand for the one"
  }
  assert {
    condition     = strcontains(base64decode(aws_launch_template.this["gpu-spot"].user_data), "\"strategy\": \"RAID0\"") && aws_launch_template.this["cpu-a"].user_data == null
    error_message = "GPU nodes must spill to their own disks"
  }
  assert {
    condition     = contains(keys(aws_eks_addon.on_nodes), "eks-node-monitoring-agent")
    error_message = "without the agent nobody sees a GPU that fell off the bus"
  }
  assert {
    condition     = contains(keys(aws_iam_role_policy_attachment.node), "AmazonSSMManagedInstanceCore")
    error_message = "a private API must have a way in"
  }
  assert {
    condition     = length(aws_eks_node_group.this["cpu-a"].taint) == 0
    error_message = "CPU nodes must take the system's pods"
  }
  assert {
    condition     = one(aws_autoscaling_group_tag.this["gpu-spot/resources/nvidia.com/gpu"].tag).value == "1" && one(aws_autoscaling_group_tag.this["gpu-spot/taint/nvidia.com/gpu"].tag).value == "present:NoSchedule"
    error_message = "a group at zero must say what its nodes would have"
  }
  assert {
    condition     = alltrue([for addon in aws_eks_addon.network : addon.preserve])
    error_message = "the CNI must outlive its record, or destroy waits for orphan interfaces"
  }
  assert {
    condition     = alltrue([for key in aws_kms_key.this : key.enable_key_rotation && key.rotation_period_in_days == 90])
    error_message = "every key must rotate"
  }
  assert {
    condition     = alltrue([for template in aws_launch_template.this : template.metadata_options[0].http_tokens == "required" && template.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "a pod must not reach its node's credentials"
  }
  assert {
    condition     = alltrue([for template in aws_launch_template.this : template.block_device_mappings[0].ebs[0].encrypted == "true"])
    error_message = "disks must be encrypted"
  }
  assert {
    condition     = aws_elasticache_replication_group.this[0].transit_encryption_enabled && aws_elasticache_replication_group.this[0].at_rest_encryption_enabled == "true" && aws_elasticache_replication_group.this[0].automatic_failover_enabled
    error_message = "Redis must be encrypted both ways and survive a node"
  }
  assert {
    condition     = contains(keys(aws_secretsmanager_secret.this), "redis-password")
    error_message = "Redis's password must be in the vault"
  }
}

run "public_on_demand_and_without_extras" {
  command = plan
  variables {
    private_api         = false
    admins              = ["arn:aws:iam::123456789012:role/platform"]
    allowed_cidrs       = ["203.0.113.0/24"]
    gpu_pool            = { spot = false, min = 2, max = 4 }
    gcs_fault_tolerance = false
    auto_shutdown       = { enabled = false }
    budget              = { monthly = 500, emails = ["ops@example.com"], hard_stop = false }
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "the public endpoint must be limited"
  }
  assert {
    condition     = sort(keys(aws_eks_node_group.this)) == tolist(["cpu-a", "cpu-b", "gpu-ondemand"]) && aws_eks_node_group.this["gpu-ondemand"].scaling_config[0].min_size == 2
    error_message = "only an on-demand pool of at least two was asked for"
  }
  assert {
    condition     = length(aws_elasticache_replication_group.this) == 0 && length(aws_secretsmanager_secret.this) == 0
    error_message = "Redis and its password must not be made"
  }
  assert {
    condition     = output.redis_address == "" && output.tunnel_command == "" && !contains(keys(aws_iam_role_policy_attachment.node), "AmazonSSMManagedInstanceCore")
    error_message = "there is no Redis, and no tunnel to a public API"
  }
  assert {
    condition     = aws_eks_access_policy_association.admin["arn:aws:iam::123456789012:role/platform"].principal_arn == "arn:aws:iam::123456789012:role/platform"
    error_message = "admins must get in"
  }
  assert {
    condition     = length(aws_scheduler_schedule.shutdown) == 0 && length(aws_scheduler_schedule.hard_stop) == 0
    error_message = "nothing must stop the nodes"
  }
}

run "spot_alone_by_day" {
  command = plan
  variables {
    zones         = ["us-east-1a", "us-east-1b", "us-east-1c"]
    gpu_pool      = { accelerator = "H100", accelerator_count = 8, on_demand_fallback = false, min = 1, zones = ["us-east-1b"] }
    auto_shutdown = { cron = "30 20 * * *", resume_cron = "0 6 * * MON-FRI", timezone = "Europe/Berlin" }
  }

  assert {
    condition     = sort(keys(aws_eks_node_group.this)) == tolist(["cpu-a", "cpu-b", "cpu-c", "gpu-spot"]) && aws_eks_node_group.this["gpu-spot"].instance_types == tolist(["p5.48xlarge"])
    error_message = "only a spot pool of p5.48xlarge was asked for"
  }
  assert {
    condition     = jsonencode([for zone in ["a", "b", "c"] : [for scaling in aws_eks_node_group.this["cpu-${zone}"].scaling_config : [scaling.min_size, scaling.max_size]][0]]) == "[[1,7],[1,7],[0,6]]"
    error_message = "the zones' groups must add up to 2 to 20 nodes"
  }
  assert {
    condition     = alltrue([for name, group in aws_eks_node_group.this : length(group.subnet_ids) == 1 && one(aws_autoscaling_group_tag.this["${name}/label/topology.ebs.csi.aws.com/zone"].tag).value == local.pools[name].zones[0] if startswith(name, "cpu-")])
    error_message = "a group without nodes must say whose disks its nodes could take"
  }
  assert {
    condition     = aws_eks_node_group.this["gpu-spot"].scaling_config[0].min_size == 1
    error_message = "the minimum must be kept"
  }
  assert {
    condition     = aws_scheduler_schedule.shutdown["suspend"].schedule_expression == "cron(30 20 ? * * *)" && aws_scheduler_schedule.shutdown["resume"].schedule_expression == "cron(0 6 ? * MON-FRI *)"
    error_message = "the crons must be said as EventBridge says them"
  }
  assert {
    condition     = aws_scheduler_schedule.shutdown["suspend"].schedule_expression_timezone == "Europe/Berlin"
    error_message = "the timezone must be kept"
  }
}

run "a_capacity_block" {
  command = plan
  variables {
    gpu_pool = { accelerator = "H100", accelerator_count = 8, spot = false, reservation = "cr-0123", zones = ["us-east-1b"] }
  }

  assert {
    condition     = aws_eks_node_group.this["gpu-ondemand"].capacity_type == "CAPACITY_BLOCK" && aws_launch_template.this["gpu-ondemand"].instance_type == "p5.48xlarge" && aws_launch_template.this["gpu-ondemand"].instance_market_options[0].market_type == "capacity-block"
    error_message = "a block must be asked for as one"
  }
  assert {
    condition     = aws_launch_template.this["gpu-ondemand"].capacity_reservation_specification[0].capacity_reservation_target[0].capacity_reservation_id == "cr-0123" && length(aws_launch_template.this["cpu-a"].capacity_reservation_specification) == 0
    error_message = "the GPU group alone must fill it"
  }
}

run "the_wrong_credentials_and_a_zone_without_a_control_plane" {
  command = plan
  variables {
    account = "999999999999"
    zones   = ["us-east-1a", "us-east-1e"]
  }
  expect_failures = [aws_vpc.this]
}
