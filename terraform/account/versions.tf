terraform {
  required_version = ">= 1.10.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # The settings are passed with -backend-config. Applied once per account and region, by a person: README.md.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      project      = var.project
      "managed-by" = "terraform"
    }
  }
}

data "aws_partition" "current" {}
