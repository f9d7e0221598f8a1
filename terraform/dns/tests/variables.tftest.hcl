# Invalid values of variables.

mock_provider "aws" {}

mock_provider "aws" {
  alias = "us_east_1"
}

override_data {
  target = data.terraform_remote_state.app
  values = { outputs = { deployctl = { rest_api_id = "a1b2c3d4e5", stage_name = "dev" } } }
}

run "values_that_are_refused" {
  command = plan

  variables {
    project         = "Users_"
    stage           = "a-name-that-is-too-long"
    region          = "Ireland"
    state_bucket    = "No_Bucket"
    state_prefix    = "/users/dev"
    domain_name     = "Dev.Example.com"
    zone_id         = "example.com"
    zone_name       = "com"
    endpoint_type   = "PRIVATE"
    certificate_arn = "given"
    base_path       = "users/v1"
  }

  expect_failures = [
    var.project,
    var.stage,
    var.region,
    var.state_bucket,
    var.state_prefix,
    var.domain_name,
    var.zone_id,
    var.zone_name,
    var.endpoint_type,
    var.certificate_arn,
    var.base_path,
  ]
}
