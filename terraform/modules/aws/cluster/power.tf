# Suspending and resuming all nodes: a state machine of AWS calls, so that there is no code to patch.

locals {
  suspend_each = [
    for name, pool in local.pools : {
      group = name, asg = aws_eks_node_group.this[name].resources[0].autoscaling_groups[0].name, max = pool.max, min = pool.min
    }
  ]
  retry = [{ ErrorEquals = ["States.ALL"], IntervalSeconds = 30, MaxAttempts = 6, BackoffRate = 2 }]

  power_states = {
    Which = {
      Type = "Choice"
      Choices = [
        { Variable = "$.action", StringEquals = "check-budget", Next = "ReadBudget" },
        { Variable = "$.action", StringEquals = "suspend", Next = "Suspend" },
        { Variable = "$.action", StringEquals = "resume", Next = "Resume" },
      ]
      Default = "Unknown"
    }
    Unknown = { Type = "Fail", Error = "UnknownAction", Cause = "action must be check-budget, suspend or resume" }
    ReadBudget = {
      Type       = "Task"
      Resource   = "arn:${local.partition}:states:::aws-sdk:budgets:describeBudget"
      Parameters = { AccountId = var.account, BudgetName = aws_budgets_budget.this.name }
      ResultSelector = {
        "spent.$" = "States.StringToJson($.Budget.CalculatedSpend.ActualSpend.Amount)"
        "limit.$" = "States.StringToJson($.Budget.BudgetLimit.Amount)"
      }
      Retry = local.retry
      Next  = "Spent"
    }
    Spent = {
      Type    = "Choice"
      Choices = [{ Variable = "$.spent", NumericGreaterThanEqualsPath = "$.limit", Next = "Suspend" }]
      Default = "WithinBudget"
    }
    WithinBudget = { Type = "Succeed" }
    # Launches are suspended before the groups go to 0: the autoscaler would otherwise answer waiting pods with new nodes.
    Suspend = {
      Type = "Pass", Result = local.suspend_each, Next = "SuspendEach"
    }
    SuspendEach = {
      Type = "Map"
      End  = true
      ItemProcessor = {
        StartAt = "StopLaunching"
        States = {
          StopLaunching = {
            Type       = "Task"
            Resource   = "arn:${local.partition}:states:::aws-sdk:autoscaling:suspendProcesses"
            Parameters = { "AutoScalingGroupName.$" = "$.asg", ScalingProcesses = ["Launch"] }
            ResultPath = null
            Retry      = local.retry
            Next       = "ScaleToZero"
          }
          ScaleToZero = {
            Type     = "Task"
            Resource = "arn:${local.partition}:states:::aws-sdk:eks:updateNodegroupConfig"
            Parameters = {
              ClusterName   = aws_eks_cluster.this.name, "NodegroupName.$" = "$.group",
              ScalingConfig = { MinSize = 0, DesiredSize = 0, "MaxSize.$" = "$.max" }
            }
            Retry = local.retry
            End   = true
          }
        }
      }
    }
    Resume = {
      Type = "Pass", Result = local.suspend_each, Next = "ResumeEach"
    }
    ResumeEach = {
      Type = "Map"
      End  = true
      ItemProcessor = {
        StartAt = "AllowLaunching"
        States = {
          AllowLaunching = {
            Type       = "Task"
            Resource   = "arn:${local.partition}:states:::aws-sdk:autoscaling:resumeProcesses"
            Parameters = { "AutoScalingGroupName.$" = "$.asg", ScalingProcesses = ["Launch"] }
            ResultPath = null
            Retry      = local.retry
            Next       = "ScaleToMinimum"
          }
          ScaleToMinimum = {
            Type     = "Task"
            Resource = "arn:${local.partition}:states:::aws-sdk:eks:updateNodegroupConfig"
            Parameters = {
              ClusterName   = aws_eks_cluster.this.name, "NodegroupName.$" = "$.group",
              ScalingConfig = { "MinSize.$" = "$.min", "DesiredSize.$" = "$.min", "MaxSize.$" = "$.max" }
            }
            Retry = local.retry
            End   = true
          }
        }
      }
    }
  }
}

resource "aws_cloudwatch_log_group" "power" {
  name              = "/${local.name}/power"
  retention_in_days = 365
  kms_key_id        = aws_kms_key.this["logs"].arn
  tags              = local.tags
}

resource "aws_sfn_state_machine" "power" {
  name       = "${local.name}-power"
  role_arn   = aws_iam_role.power.arn
  definition = jsonencode({ Comment = "Suspends and resumes all node groups of ${local.name}", StartAt = "Which", States = local.power_states })
  tags       = local.tags

  logging_configuration {
    level                  = "ALL"
    include_execution_data = true
    log_destination        = "${aws_cloudwatch_log_group.power.arn}:*"
  }

  tracing_configuration {
    enabled = true
  }

  depends_on = [aws_iam_role_policy.power] # Step Functions tries the role's right to log when it is made
}

resource "aws_iam_role" "power" {
  name = "${local.name}-power"
  tags = local.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "states.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
    }]
  })
}

resource "aws_iam_role_policy" "power" {
  name = "suspend-and-resume"
  role = aws_iam_role.power.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = ["autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses"]
        Resource  = "arn:${local.partition}:autoscaling:${var.region}:${var.account}:autoScalingGroup:*:autoScalingGroupName/eks-*"
        Condition = { StringEquals = { "aws:ResourceTag/eks:cluster-name" = local.name } }
      },
      {
        Effect   = "Allow"
        Action   = "eks:UpdateNodegroupConfig"
        Resource = "arn:${local.partition}:eks:${var.region}:${var.account}:nodegroup/${local.name}/*"
      },
      {
        Effect   = "Allow"
        Action   = "budgets:ViewBudget"
        Resource = aws_budgets_budget.this.arn
      },
      {
        Effect = "Allow" # log delivery and traces are of the account: AWS names no resource for them
        Action = [
          "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
          "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
          "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets",
        ]
        Resource = "*"
      },
    ]
  })
}
