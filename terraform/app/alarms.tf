# What somebody should be told of. Off unless alarms_enabled: MiniStack leaves out fields of an alarm, so that
# the provider could not read one back on the local stage.

locals {
  alarm_actions = var.alarm_topic_arn[*]
  api_alarms    = var.alarms_enabled ? 1 : 0
  alarm_of_api  = { ApiName = aws_api_gateway_rest_api.this.name, Stage = var.stage }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  count = local.api_alarms

  alarm_name        = "${local.name}-api-5xx"
  alarm_description = "Requests to ${local.name} are answered with 5XX. deployctl status tells what runs, deployctl rollback goes back."

  namespace   = "AWS/ApiGateway"
  metric_name = "5XXError"
  dimensions  = local.alarm_of_api

  # The average of this metric is the share of requests.
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_limits.error_share
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3

  # No requests, no errors.
  treat_missing_data = "notBreaching"

  alarm_actions = local.alarm_actions
  ok_actions    = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "latency" {
  count = local.api_alarms

  alarm_name        = "${local.name}-api-latency"
  alarm_description = "One request in a hundred to ${local.name} takes too long."

  namespace   = "AWS/ApiGateway"
  metric_name = "Latency"
  dimensions  = local.alarm_of_api

  extended_statistic  = "p99"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_limits.latency_p99_ms
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"

  # The hundredth part of a handful of requests says nothing.
  evaluate_low_sample_count_percentiles = "ignore"

  alarm_actions = local.alarm_actions
  ok_actions    = local.alarm_actions
}

# Lambda turns requests away when the account's concurrency is used up. (What the stage's own throttling turns
# away is a 429 to the caller and among API Gateway's 4XX, with everybody's mistyped paths: no alarm.)
resource "aws_cloudwatch_metric_alarm" "throttles" {
  for_each = { for key, function in local.functions : key => function if var.alarms_enabled }

  alarm_name        = "${each.value.name}-throttles"
  alarm_description = "Lambda turns away calls of ${each.value.name}."

  namespace   = "AWS/Lambda"
  metric_name = "Throttles"
  dimensions  = { FunctionName = each.value.name }

  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"

  alarm_actions = local.alarm_actions
  ok_actions    = local.alarm_actions
}
