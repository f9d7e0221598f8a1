terraform {
  # As in the other layers: locking in S3, OpenTofu 1.10 included.
  required_version = ">= 1.10.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Partial: deployctl passes the rest by -backend-config.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

# Edge endpoints are served by CloudFront, which takes certificates from this region only.
provider "aws" {
  alias  = "us_east_1"
  region = "us-east-1"

  default_tags {
    tags = local.tags
  }
}

# What the app layer made, read from its state. A layer that is not there yet is an error here, never a
# made-up value.
data "terraform_remote_state" "app" {
  backend = "s3"

  config = {
    bucket = var.state_bucket
    key    = "${var.state_prefix}/app.tfstate"
    region = var.region
  }
}

locals {
  tags = {
    project      = var.project
    stage        = var.stage
    "managed-by" = "terraform"
  }

  api = data.terraform_remote_state.app.outputs.deployctl
}
