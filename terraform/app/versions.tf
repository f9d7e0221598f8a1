terraform {
  # State locking in S3 (use_lockfile) is stable since Terraform 1.11 and OpenTofu 1.10. OpenTofu compares this line with
  # its own version, so ">= 1.11" would exclude OpenTofu 1.10.
  # Terraform 1.10 is allowed, too; there, use_lockfile is experimental.
  required_version = ">= 1.10.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # deployctl passes bucket, key, region, use_lockfile and encrypt with -backend-config, because they depend on the
  # stage.
  backend "s3" {}
}

# There is no endpoints block: for the local stage, AWS_ENDPOINT_URL directs the provider, the backend and the AWS CLI to the
# emulator.
provider "aws" {
  region = var.region

  default_tags {
    tags = {
      project      = var.project
      stage        = var.stage
      "managed-by" = "terraform"
    }
  }
}

# The outputs of the base layer, from its state. If the layer has not been applied, this is an error.
data "terraform_remote_state" "base" {
  backend = "s3"

  config = {
    bucket = var.state_bucket
    key    = "${var.state_prefix}/base.tfstate"
    region = var.region
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  # The prefix of every name in both layers.
  name = "${var.project}-${var.stage}"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  dns_suffix = local.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"
  base       = data.terraform_remote_state.base.outputs
}
