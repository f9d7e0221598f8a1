# Rules for every domain, applied with mock providers.

mock_provider "aws" {
  mock_resource "aws_acm_certificate" {
    defaults = {
      arn = "arn:aws:acm:eu-west-1:111111111111:certificate/made"

      domain_validation_options = [{
        domain_name           = "dev.example.com"
        resource_record_name  = "_proof.dev.example.com."
        resource_record_type  = "CNAME"
        resource_record_value = "_proof.acm-validations.aws."
      }]
    }
  }

  mock_resource "aws_route53_zone" {
    defaults = {
      zone_id      = "Z0MADE"
      name_servers = ["ns-1.example", "ns-2.example"]
    }
  }

  mock_resource "aws_api_gateway_domain_name" {
    defaults = {
      regional_domain_name   = "d-0a1b2c3d4e.execute-api.eu-west-1.amazonaws.com"
      regional_zone_id       = "Z0REGIONAL"
      cloudfront_domain_name = "d0a1b2c3d4e5f6.cloudfront.net"
      cloudfront_zone_id     = "Z2FDTNDATAQYW2"
    }
  }
}

mock_provider "aws" {
  alias = "us_east_1"

  mock_resource "aws_acm_certificate" {
    defaults = {
      arn = "arn:aws:acm:us-east-1:111111111111:certificate/made"

      domain_validation_options = [{
        domain_name           = "dev.example.com"
        resource_record_name  = "_proof.dev.example.com."
        resource_record_type  = "CNAME"
        resource_record_value = "_proof.acm-validations.aws."
      }]
    }
  }
}

# The outputs of the app layer.
override_data {
  target = data.terraform_remote_state.app
  values = {
    outputs = {
      deployctl = {
        rest_api_id = "a1b2c3d4e5"
        stage_name  = "dev"
      }
    }
  }
}

variables {
  project      = "users"
  stage        = "dev"
  region       = "eu-west-1"
  state_bucket = "users-dev-tfstate-111111111111"
  state_prefix = "users/dev"
  domain_name  = "dev.example.com"
}

run "a_regional_domain_in_a_zone_of_its_own" {
  assert {
    condition     = aws_route53_zone.this[0].name == "dev.example.com" && output.zone_id == "Z0MADE" && length(output.name_servers) == 2
    error_message = "there must be a zone for the domain itself"
  }

  assert {
    condition = (
      length(aws_acm_certificate.regional) == 1 && length(aws_acm_certificate.edge) == 0 &&
      aws_acm_certificate.regional[0].domain_name == "dev.example.com" && aws_acm_certificate.regional[0].validation_method == "DNS"
    )
    error_message = "there must be one certificate, in the stage's region, with DNS validation"
  }

  assert {
    condition = (
      length(aws_route53_record.proof) == 1 && aws_route53_record.proof[0].zone_id == "Z0MADE" &&
      aws_route53_record.proof[0].name == "_proof.dev.example.com." && aws_route53_record.proof[0].type == "CNAME"
    )
    error_message = "the validation record must be in the zone"
  }

  assert {
    condition = (
      aws_api_gateway_domain_name.this.regional_certificate_arn == "arn:aws:acm:eu-west-1:111111111111:certificate/made" &&
      aws_api_gateway_domain_name.this.certificate_arn == null &&
      aws_api_gateway_domain_name.this.security_policy == "TLS_1_2" &&
      aws_api_gateway_domain_name.this.endpoint_configuration[0].types == tolist(["REGIONAL"])
    )
    error_message = "the domain must use its certificate and require TLS 1.2"
  }

  assert {
    condition = (
      aws_api_gateway_base_path_mapping.this.base_path == "users" &&
      aws_api_gateway_base_path_mapping.this.api_id == "a1b2c3d4e5" &&
      aws_api_gateway_base_path_mapping.this.stage_name == "dev"
    )
    error_message = "the base path must be mapped to the stage"
  }

  assert {
    condition = (
      aws_route53_record.api.type == "A" && aws_route53_record.api.name == "dev.example.com" &&
      aws_route53_record.api.alias[0].name == "d-0a1b2c3d4e.execute-api.eu-west-1.amazonaws.com" &&
      aws_route53_record.api.alias[0].zone_id == "Z0REGIONAL"
    )
    error_message = "the DNS record must refer to API Gateway in the region"
  }

  assert {
    condition     = output.url == "https://dev.example.com/users"
    error_message = "the URL differs"
  }
}

run "an_edge_domain_in_a_zone_above" {
  variables {
    endpoint_type = "EDGE"
    zone_name     = "example.com"
  }

  assert {
    condition     = aws_route53_zone.this[0].name == "example.com"
    error_message = "the zone must have the given name"
  }

  assert {
    condition = (
      length(aws_acm_certificate.regional) == 0 && length(aws_acm_certificate.edge) == 1 &&
      aws_api_gateway_domain_name.this.certificate_arn == "arn:aws:acm:us-east-1:111111111111:certificate/made" &&
      aws_api_gateway_domain_name.this.regional_certificate_arn == null
    )
    error_message = "the certificate must be in us-east-1, as CloudFront requires"
  }

  assert {
    condition = (
      aws_route53_record.api.alias[0].name == "d0a1b2c3d4e5f6.cloudfront.net" &&
      aws_route53_record.api.alias[0].zone_id == "Z2FDTNDATAQYW2"
    )
    error_message = "the DNS record must refer to CloudFront"
  }
}

run "zone_and_certificate_are_given" {
  variables {
    zone_id         = "Z0GIVEN"
    certificate_arn = "arn:aws:acm:eu-west-1:111111111111:certificate/given"
    base_path       = "v1"
  }

  assert {
    condition = (
      length(aws_route53_zone.this) + length(aws_acm_certificate.regional) + length(aws_acm_certificate.edge) +
      length(aws_route53_record.proof) == 0 && length(output.name_servers) == 0
    )
    error_message = "a given zone or certificate was created"
  }

  assert {
    condition = (
      aws_route53_record.api.zone_id == "Z0GIVEN" &&
      aws_api_gateway_domain_name.this.regional_certificate_arn == "arn:aws:acm:eu-west-1:111111111111:certificate/given" &&
      output.url == "https://dev.example.com/v1"
    )
    error_message = "the given zone and certificate must be used"
  }
}

run "a_certificate_of_another_region_is_refused" {
  command = plan

  variables {
    zone_id         = "Z0GIVEN"
    certificate_arn = "arn:aws:acm:us-east-1:111111111111:certificate/given"
  }

  expect_failures = [aws_api_gateway_domain_name.this]
}

run "a_zone_that_cannot_hold_the_name_is_refused" {
  command = plan

  variables {
    zone_name = "ample.com"
  }

  expect_failures = [aws_route53_zone.this]
}
