# The user pool, if authorization is cognito. API Gateway itself checks the ID token of a user. Unlike the Lambda authorizer,
# the pool knows no rights: each of its users may call every route.

locals {
  user_pool = var.authorization == "cognito" || var.user_pool_retained
}

resource "aws_cognito_user_pool" "this" {
  count = local.user_pool ? 1 : 0

  name = local.name

  # The users would be lost. deployctl, too, refuses a plan that destroys a pool.
  deletion_protection = var.user_pool_deletion_protection ? "ACTIVE" : "INACTIVE"

  # Nobody can sign up: an administrator creates each user.
  admin_create_user_config {
    allow_admin_create_user_only = true
  }

  username_configuration {
    case_sensitive = false
  }

  password_policy {
    minimum_length                   = 12
    require_lowercase                = true
    require_uppercase                = true
    require_numbers                  = true
    require_symbols                  = true
    temporary_password_validity_days = 7
  }

  account_recovery_setting {
    recovery_mechanism {
      name     = "admin_only"
      priority = 1
    }
  }
}

resource "aws_cognito_user_pool_client" "this" {
  count = local.user_pool ? 1 : 0

  name         = local.name
  user_pool_id = aws_cognito_user_pool.this[0].id

  # A secret in an application that users install would not be one.
  generate_secret = false

  # SRP does not send the password. The ADMIN flow is for callers with AWS credentials that allow it.
  explicit_auth_flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH"]

  enable_token_revocation       = true
  prevent_user_existence_errors = "ENABLED"

  # A token is valid until it expires, also after its user was deleted.
  access_token_validity  = 15
  id_token_validity      = 15
  refresh_token_validity = 30

  token_validity_units {
    access_token  = "minutes"
    id_token      = "minutes"
    refresh_token = "days"
  }
}

resource "aws_api_gateway_authorizer" "cognito" {
  count = var.authorization == "cognito" ? 1 : 0

  name            = "${local.name}-users"
  rest_api_id     = aws_api_gateway_rest_api.this.id
  type            = "COGNITO_USER_POOLS"
  provider_arns   = [aws_cognito_user_pool.this[0].arn]
  identity_source = "method.request.header.Authorization"

  lifecycle {
    # As in authorizer.tf.
    create_before_destroy = true
  }
}
