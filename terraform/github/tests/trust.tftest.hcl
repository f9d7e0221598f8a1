# The trust policies and permissions of the roles, without an AWS account.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111111111111" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::111111111111:policy/mocked" }
  }
}

variables {
  repository = "example/shop"
  project    = "users"
  region     = "eu-west-1"
  stages     = { dev = { previews = true }, prd = { promote_from = [{ stage = "dev", account_id = "111111111111" }] } }
}

run "each_role_trusts_one_environment_of_one_repository" {
  command = plan

  assert {
    condition = { for name, trust in output.trust : name => trust.Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] } == {
      dev-deploy  = "repo:example/shop:environment:dev"
      dev-plan    = "repo:example/shop:environment:dev-plan"
      dev-preview = "repo:example/shop:environment:dev-preview"
      prd-deploy  = "repo:example/shop:environment:prd"
      prd-plan    = "repo:example/shop:environment:prd-plan"
    }
    error_message = "the subjects differ"
  }

  assert {
    condition     = alltrue([for trust in values(output.trust) : trust.Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"])
    error_message = "tokens for another audience are accepted"
  }

  assert {
    condition     = alltrue([for trust in values(output.trust) : length(trust.Statement) == 1 && keys(trust.Statement[0].Condition) == ["StringEquals"]])
    error_message = "there is another statement"
  }

  assert {
    condition     = alltrue([for trust in values(output.trust) : trust.Statement[0].Principal == { Federated = "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com" }])
    error_message = "a principal other than GitHub is trusted"
  }

  assert {
    condition     = !strcontains(jsonencode(output.trust), "*") && !strcontains(jsonencode(output.trust), "?")
    error_message = "a trust policy contains a wildcard"
  }

  assert {
    condition     = alltrue([for role in values(aws_iam_role.this) : role.max_session_duration == 3600])
    error_message = "credentials are valid for more than one hour"
  }

  assert {
    condition     = alltrue([for policy in values(aws_iam_policy.this) : length(policy.policy) <= 6144])
    error_message = "a policy is longer than AWS allows"
  }

  assert {
    condition     = alltrue([for role in values(aws_iam_role.this) : role.path == "/github/"])
    error_message = "a deploy role could change itself: it may change roles with names <project>-<stage>-…"
  }

  assert {
    condition     = tolist(aws_iam_openid_connect_provider.github[0].client_id_list) == tolist(["sts.amazonaws.com"])
    error_message = "the OIDC provider accepts other audiences"
  }
}

run "the_release_history_belongs_to_a_person" {
  command = plan

  assert {
    condition = length([for policy in values(aws_iam_policy.this) : policy.name if anytrue([for action in [
      "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteObjectVersion", "s3:PutBucket", "s3:PutEncryption", "s3:PutLifecycle",
      "iam:CreateRole", "iam:PutRole", "iam:UpdateAssumeRolePolicy", "iam:AttachRolePolicy", "iam:DeleteRole",
    ] : strcontains(policy.policy, action)])]) == 0
    error_message = "a role may shape a bucket, or create and change roles"
  }

  assert {
    condition     = length([for name, policy in aws_iam_policy.this : name if strcontains(name, "-plan-") && strcontains(policy.policy, "s3:DeleteObject")]) == 0
    error_message = "a plan may delete the lock of a release"
  }

  assert {
    condition     = !strcontains(aws_iam_policy.this["prd-deploy-deployctl"].policy, "users-dev-tfstate-111111111111/users/dev/*")
    error_message = "a promotion may read the state of its source"
  }
}

run "roles_with_a_boundary" {
  command = plan

  variables {
    permissions_boundary = "arn:aws:iam::111111111111:policy/boundary"
  }

  assert {
    condition = alltrue(flatten([for policy in values(aws_iam_policy.this) : [
      for statement in jsondecode(policy.policy).Statement :
      try(statement.Condition.StringEquals["iam:PermissionsBoundary"], "none") == "arn:aws:iam::111111111111:policy/boundary"
      if length(setintersection(statement.Action, ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy"])) > 0
    ]]))
    error_message = "a role may be made without the boundary"
  }

  assert {
    condition     = strcontains(aws_iam_policy.this["dev-deploy-terraform"].policy, "iam:CreateRole") && !strcontains(jsonencode(values(aws_iam_policy.this)[*].policy), "UpdateAssumeRolePolicy")
    error_message = "the deploy role must be able to create roles, and not to change whom they trust"
  }
}

run "an_account_that_has_the_provider_keeps_it" {
  command = plan

  variables {
    create_provider = false
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0
    error_message = "there must not be a second OIDC provider"
  }
}

run "no_pattern_of_repositories" {
  command = plan

  variables {
    repository = "example/*"
  }

  expect_failures = [var.repository]
}

run "no_owner_alone" {
  command = plan

  variables {
    repository = "example"
  }

  expect_failures = [var.repository]
}

run "no_stage_in_the_place_of_a_plan" {
  command = plan

  variables {
    stages = { dev = {}, dev-plan = {} }
  }

  expect_failures = [var.stages]
}

run "no_stage_in_the_place_of_a_preview" {
  command = plan

  variables {
    stages = { dev = {}, dev-preview = {} }
  }

  expect_failures = [var.stages]
}

run "no_stage_that_another_reaches" {
  command = plan

  variables {
    stages = { dev = {}, dev-eu = {} }
  }

  expect_failures = [var.stages]
}

run "no_pattern_of_buckets" {
  command = plan

  variables {
    stages = { prd = { promote_from = [{ stage = "dev", account_id = "111111111111", artifact_bucket = "*" }] } }
  }

  expect_failures = [var.stages]
}

run "the_china_partition_has_its_own_audience" {
  command = plan

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws-cn" }
  }

  assert {
    condition     = alltrue([for trust in values(output.trust) : trust.Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com.cn"])
    error_message = "tokens for another audience are accepted"
  }

  assert {
    condition     = tolist(aws_iam_openid_connect_provider.github[0].client_id_list) == tolist(["sts.amazonaws.com.cn"])
    error_message = "the OIDC provider accepts other audiences"
  }

  assert {
    condition     = alltrue([for trust in values(output.trust) : startswith(trust.Statement[0].Principal.Federated, "arn:aws-cn:iam::")])
    error_message = "the provider is in another partition"
  }
}
