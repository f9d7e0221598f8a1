# CloudWatch alarms. Off by default: the local AWS emulator (MiniStack) does not return all fields of an alarm, so the
# provider cannot read one back on the local stage.

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

  # The average of this metric is the share of requests with a 5XX response.
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_limits.error_share
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3

  # Without requests there is no data and no error.
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

  # With few requests, the 99th percentile is not meaningful.
  evaluate_low_sample_count_percentiles = "ignore"

  alarm_actions = local.alarm_actions
  ok_actions    = local.alarm_actions
}

# Lambda throttles invocations when the account's concurrency limit is reached. There is no alarm for the throttling of
# the stage: its 429 responses count as 4XX in the metrics of API Gateway, together with requests for unknown paths.
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
