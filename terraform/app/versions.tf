terraform {
  # State locking in S3 (use_lockfile) is stable from Terraform 1.11 on. OpenTofu, which has it since
  # 1.10, compares this line with its own version numbers, so ">= 1.11" would shut out OpenTofu 1.10.
  # Terraform 1.10 gets in by this too: it knows use_lockfile, but calls it experimental.
  required_version = ">= 1.10.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Partial: deployctl passes bucket, key, region, use_lockfile and encrypt by -backend-config, so that
  # one code serves every stage.
  backend "s3" {}
}

# No endpoints block: AWS_ENDPOINT_URL points the provider, the backend and the AWS CLI alike at an
# emulator, and leaves this code the same for every stage.
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

# What the base layer made, read from its state. A layer that is not there yet is an error here, never a
# made-up value.
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
  # Every name in both layers starts with this.
  name = "${var.project}-${var.stage}"

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  base       = data.terraform_remote_state.base.outputs
}
