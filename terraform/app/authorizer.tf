# The optional custom authorizer: a function like the others, pinned to a version by a stage variable
# like the others, so that it goes live, and back, in the same switch.

resource "aws_api_gateway_authorizer" "this" {
  count = var.authorizer_enabled ? 1 : 0

  name        = local.functions["authorizer"].name
  rest_api_id = aws_api_gateway_rest_api.this.id
  type        = "REQUEST"

  # API Gateway answers 401 by itself to a request without this header, and caches answers by its value.
  identity_source                  = "method.request.header.Authorization"
  authorizer_result_ttl_in_seconds = var.authorizer_ttl_seconds

  authorizer_uri         = local.invocation_uris["authorizer"]
  authorizer_credentials = aws_iam_role.api_gateway_invoke.arn

  lifecycle {
    # API Gateway refuses to delete an authorizer that a method still names, and the provider takes no
    # notice and forgets it (terraform-provider-aws #41401). With this, switching the authorizer off
    # updates the methods first. They are opened in the definition only: the live deployment, a
    # snapshot, keeps asking until deployctl's switch.
    create_before_destroy = true
  }
}
