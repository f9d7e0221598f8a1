# The Lambda authorizer, if authorization is lambda. Like the other functions it is pinned to a version by a stage variable, so that a
# release or a rollback switches it together with them.

resource "aws_api_gateway_authorizer" "this" {
  count = var.authorization == "lambda" ? 1 : 0

  name        = local.functions["authorizer"].name
  rest_api_id = aws_api_gateway_rest_api.this.id
  type        = "REQUEST"

  # API Gateway answers 401 to a request without this header, and caches policies by its value.
  identity_source                  = "method.request.header.Authorization"
  authorizer_result_ttl_in_seconds = var.authorizer_ttl_seconds

  authorizer_uri         = local.invocation_uris["authorizer"]
  authorizer_credentials = aws_iam_role.api_gateway_invoke.arn

  lifecycle {
    # API Gateway rejects the deletion of an authorizer that a method uses. The provider ignores this error and removes the
    # authorizer from its state (terraform-provider-aws #41401). With create_before_destroy, the methods are updated
    # first when the authorizer is disabled. The live deployment is a snapshot: it uses the authorizer until deployctl
    # switches the stage.
    create_before_destroy = true
  }
}
