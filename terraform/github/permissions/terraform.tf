# The permissions for Terraform, for the layers `terraform/base` and `terraform/app`. tests/release/pipeline records the calls of
# Terraform and checks them against these lists. The lists also contain actions that update and delete the created resources.
# A project with other resources needs other lists.
#
# Not included: deleting a bucket, an API, a stage, a function or a Redis replication group. deployctl rejects such plans
# without `--allow-destroy`, which the workflows do not set. AWS denies them in addition.
#
# Not included either: creating and changing the artifact bucket, and roles without a permissions boundary. Versioning,
# lifecycle rules and the policy of the bucket protect the release history, and whoever writes the policy of a role has
# what it allows. The person who bootstraps the stage makes its first release, and applies later changes of these.

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

  read_bucket = [
    "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLogging",
    "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment", "s3:GetBucketTagging", "s3:GetBucketVersioning",
    "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListTagsForResource",
  ]

  read_network = [
    "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute", "ec2:DescribeAvailabilityZones", "ec2:DescribeInternetGateways",
    "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls", "ec2:DescribePrefixLists", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs",
  ]

  terraform_read = [
    {
      Sid      = "SeeBucket"
      Effect   = "Allow"
      Action   = local.read_bucket
      Resource = [local.bucket]
    },
    {
      Sid       = "SeeNetwork"
      Effect    = "Allow"
      Action    = local.read_network
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
      # `doctor` reads the limits and the CloudWatch role of the account.
      Sid      = "SeeAccountOfApis"
      Effect   = "Allow"
      Action   = ["apigateway:GET"]
      Resource = ["${local.api}/account", "${local.api}/tags/*"]
    },
    {
      # DescribeLogGroups needs permission for all log groups of the account.
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

  # With a permissions boundary, a role can do no more than the boundary allows, whatever its policy says. The boundary does not
  # limit who may assume the role, so changing a trust policy is never allowed.
  manage_roles = flatten([for boundary in var.permissions_boundary[*] : [
    {
      Sid       = "MakeRoles"
      Effect    = "Allow"
      Action    = ["iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy"]
      Resource  = [local.roles]
      Condition = { StringEquals = { "iam:PermissionsBoundary" = boundary } }
    },
    {
      Sid      = "ShapeRoles"
      Effect   = "Allow"
      Action   = ["iam:DeleteRole", "iam:ListInstanceProfilesForRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateRole", "iam:UpdateRoleDescription"]
      Resource = [local.roles]
    },
  ]])

  terraform = concat(local.manage_roles, [
    {
      Sid       = "PassRoles"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = [local.roles]
      Condition = { StringEquals = { "iam:PassedToService" = ["lambda.amazonaws.com", "apigateway.amazonaws.com"] } }
    },
    {
      # Needed once per account, for the first replication group.
      Sid       = "RoleOfElastiCache"
      Effect    = "Allow"
      Action    = ["iam:CreateServiceLinkedRole"]
      Resource  = ["arn:${var.partition}:iam::${var.account_id}:role/aws-service-role/elasticache.amazonaws.com/*"]
      Condition = { StringEquals = { "iam:AWSServiceName" = "elasticache.amazonaws.com" } }
    },
    {
      Sid      = "ShapeFunctions"
      Effect   = "Allow"
      Action   = ["lambda:CreateFunction", "lambda:DeleteFunctionConcurrency", "lambda:PutFunctionConcurrency", "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateFunctionConfiguration"]
      Resource = [local.functions]
    },
    {
      # No DELETE of an API or a stage, see above.
      Sid      = "ShapeApi"
      Effect   = "Allow"
      Action   = ["apigateway:PATCH", "apigateway:POST", "apigateway:PUT"]
      Resource = ["${local.api}/restapis", "${local.api}/restapis/*", "${local.api}/tags/*"]
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
  ])

  # AWS generates the ids of network resources, and not every action supports conditions on tags. Limited to one region.
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
