terraform {
  # As in the other layers: state locking in S3, with OpenTofu 1.10.
  required_version = ">= 1.10.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # deployctl passes the settings with -backend-config.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

# Edge endpoints use CloudFront, which requires certificates in this region.
provider "aws" {
  alias  = "us_east_1"
  region = "us-east-1"

  default_tags {
    tags = local.tags
  }
}

# The outputs of the app layer, from its state. If the layer has not been applied, this is an error.
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
