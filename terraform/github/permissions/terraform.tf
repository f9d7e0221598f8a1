# What Terraform asks of AWS for the layers of the example, `terraform/base` and `terraform/app`. tests/pipeline records its
# calls while it makes them, and holds them against these lists. They have more than it has seen: what changes or takes
# away a thing is beside what makes it. A project with other resources has other lists.
#
# Not here: what deletes a bucket, an API, a stage, a function or a Redis. deployctl refuses such plans unless it is told
# otherwise (`--allow-destroy`), the workflows do not tell it, and AWS is the second to refuse.

locals {
  groups = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:"
  caches = "arn:${var.partition}:elasticache:${var.region}:${var.account_id}:"
  alarms = "arn:${var.partition}:cloudwatch:${var.region}:${var.account_id}:alarm:${local.name}*"
  roles  = "arn:${var.partition}:iam::${var.account_id}:role/${local.name}-*"
  bucket = "${local.s3}${local.artifact_bucket}"

  log_groups = [
    "${local.groups}/aws/lambda/${local.name}-*",
    "${local.groups}/aws/apigateway/${local.name}*",
    "${local.groups}API-Gateway-Execution-Logs_*/${var.stage}*",
  ]

  look_at_bucket = [
    "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLogging",
    "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment", "s3:GetBucketTagging", "s3:GetBucketVersioning",
    "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration",
  ]

  look_at_network = [
    "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute", "ec2:DescribeAvailabilityZones", "ec2:DescribeInternetGateways",
    "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls", "ec2:DescribePrefixLists", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs",
  ]

  terraform_look = [
    {
      Sid      = "SeeBucket"
      Effect   = "Allow"
      Action   = local.look_at_bucket
      Resource = [local.bucket]
    },
    {
      Sid       = "SeeNetwork"
      Effect    = "Allow"
      Action    = local.look_at_network
      Resource  = ["*"]
      Condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
    },
    {
      Sid      = "SeeRoles"
      Effect   = "Allow"
      Action   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]
      Resource = [local.roles]
    },
    {
      Sid      = "SeeMoreOfFunctions"
      Effect   = "Allow"
      Action   = ["lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:ListTags", "lambda:ListVersionsByFunction"]
      Resource = [local.functions]
    },
    {
      Sid      = "SeeAccountOfApis"
      Effect   = "Allow"
      Action   = ["apigateway:GET"]
      Resource = ["${local.api}/account", "${local.api}/tags/*"]
    },
    {
      # Lists of log groups exist for the whole account only.
      Sid      = "ListLogGroups"
      Effect   = "Allow"
      Action   = ["logs:DescribeLogGroups"]
      Resource = ["${local.groups}*"]
    },
    {
      Sid      = "SeeLogGroups"
      Effect   = "Allow"
      Action   = ["logs:ListTagsForResource"]
      Resource = local.log_groups
    },
    {
      Sid      = "SeeAlarms"
      Effect   = "Allow"
      Action   = ["cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource"]
      Resource = [local.alarms]
    },
    {
      Sid      = "SeeRedis"
      Effect   = "Allow"
      Action   = ["elasticache:DescribeCacheClusters", "elasticache:DescribeCacheSubnetGroups", "elasticache:DescribeReplicationGroups", "elasticache:ListTagsForResource"]
      Resource = ["${local.caches}*:${local.name}*"]
    },
  ]

  # Every role that Terraform makes carries the boundary, where there is one.
  bounded = var.permissions_boundary == null ? {} : { Condition = { StringEquals = { "iam:PermissionsBoundary" = var.permissions_boundary } } }

  terraform = [
    {
      Sid    = "ShapeBucket"
      Effect = "Allow"
      Action = [
        "s3:CreateBucket", "s3:PutLifecycleConfiguration", "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketTagging", "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration",
      ]
      Resource = [local.bucket]
    },
    merge({
      Sid      = "MakeRoles"
      Effect   = "Allow"
      Action   = ["iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy"]
      Resource = [local.roles]
    }, local.bounded),
    {
      Sid      = "ShapeRoles"
      Effect   = "Allow"
      Action   = ["iam:DeleteRole", "iam:ListInstanceProfilesForRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription"]
      Resource = [local.roles]
    },
    {
      # Of AWS's own policies this one, which lets API Gateway write logs.
      Sid       = "AttachLogPolicy"
      Effect    = "Allow"
      Action    = ["iam:AttachRolePolicy", "iam:DetachRolePolicy"]
      Resource  = [local.roles]
      Condition = { StringEquals = { "iam:PolicyARN" = "arn:${var.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs" } }
    },
    {
      Sid       = "PassRoles"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = [local.roles]
      Condition = { StringEquals = { "iam:PassedToService" = ["lambda.amazonaws.com", "apigateway.amazonaws.com"] } }
    },
    {
      # Once per account, by the first Redis in it.
      Sid       = "RoleOfElastiCache"
      Effect    = "Allow"
      Action    = ["iam:CreateServiceLinkedRole"]
      Resource  = ["arn:${var.partition}:iam::${var.account_id}:role/aws-service-role/elasticache.amazonaws.com/*"]
      Condition = { StringEquals = { "iam:AWSServiceName" = "elasticache.amazonaws.com" } }
    },
    {
      Sid      = "ShapeFunctions"
      Effect   = "Allow"
      Action   = ["lambda:CreateFunction", "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateFunctionConfiguration"]
      Resource = [local.functions]
    },
    {
      # No DELETE of an API or of a stage: see above.
      Sid      = "ShapeApi"
      Effect   = "Allow"
      Action   = ["apigateway:PATCH", "apigateway:POST", "apigateway:PUT"]
      Resource = ["${local.api}/restapis", "${local.api}/restapis/*", "${local.api}/account", "${local.api}/tags/*"]
    },
    {
      Sid      = "TakeRoutesAway"
      Effect   = "Allow"
      Action   = ["apigateway:DELETE"]
      Resource = ["${local.api}/restapis/*/resources/*", "${local.api}/restapis/*/authorizers/*", "${local.api}/restapis/*/deployments/*", "${local.api}/tags/*"]
    },
    {
      Sid      = "ShapeLogGroups"
      Effect   = "Allow"
      Action   = ["logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy", "logs:TagResource", "logs:UntagResource"]
      Resource = local.log_groups
    },
    {
      Sid      = "ShapeAlarms"
      Effect   = "Allow"
      Action   = ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource", "cloudwatch:UntagResource"]
      Resource = [local.alarms]
    },
    {
      Sid      = "ShapeRedis"
      Effect   = "Allow"
      Action   = ["elasticache:AddTagsToResource", "elasticache:CreateCacheSubnetGroup", "elasticache:CreateReplicationGroup", "elasticache:ModifyCacheSubnetGroup", "elasticache:ModifyReplicationGroup", "elasticache:RemoveTagsFromResource"]
      Resource = ["${local.caches}*:${local.name}*", "${local.caches}parametergroup:*"]
    },
  ]

  # The ids of a network are AWS's choice, and not every call can be held to a tag: all of one region.
  network = [
    {
      Sid    = "ShapeNetwork"
      Effect = "Allow"
      Action = [
        "ec2:AllocateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:AuthorizeSecurityGroupEgress",
        "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateInternetGateway", "ec2:CreateNatGateway", "ec2:CreateRoute",
        "ec2:CreateRouteTable", "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpc", "ec2:CreateVpcEndpoint",
        "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable",
        "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpcEndpoints", "ec2:DescribeNetworkInterfaces",
        "ec2:DetachInternetGateway", "ec2:DisassociateAddress", "ec2:DisassociateRouteTable",
        "ec2:ModifySecurityGroupRules", "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint", "ec2:ReleaseAddress",
        "ec2:ReplaceRoute", "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress", "ec2:UpdateSecurityGroupRuleDescriptionsEgress",
        "ec2:UpdateSecurityGroupRuleDescriptionsIngress",
      ]
      Resource  = ["*"]
      Condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
    },
  ]
}
