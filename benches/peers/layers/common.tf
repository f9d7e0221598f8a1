# What each layer of the generated project starts with.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  backend "s3" {}
}

provider "aws" {
  region = var.region
}

variable "region" {
  type = string
}

variable "release_version" {
  type = string
}

variable "state_bucket" {
  type = string
}

variable "state_prefix" {
  type = string
}

variable "artifact_bucket" {
  type = string
}

variable "functions" {
  type = number
}
