# Invalid values of variables.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  project = "users"
  stage   = "dev"
  region  = "eu-west-1"
}

run "values_that_are_refused" {
  command = plan

  variables {
    project            = "Users_"
    stage              = "a-name-that-is-too-long"
    region             = "Ireland"
    vpc_cidr           = "10.20.0.0/25"
    availability_zones = ["eu-west-1a", "eu-west-1a", "eu-west-1b"]
    egress             = "proxy"
    endpoint_services  = ["s3"]

    artifact_bucket_readers = ["*"]
    permissions_boundary    = "boundary"
  }

  expect_failures = [
    var.project,
    var.stage,
    var.region,
    var.vpc_cidr,
    var.availability_zones,
    var.egress,
    var.endpoint_services,
    var.artifact_bucket_readers,
    var.permissions_boundary,
  ]
}
