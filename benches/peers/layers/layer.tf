# A layer below the contract's: a few resources, and an output that the next layer reads.

resource "aws_cloudwatch_log_group" "this" {
  count = 5

  name              = "/generated/LAYER/${count.index}"
  retention_in_days = 14
}

output "names" {
  value = aws_cloudwatch_log_group.this[*].name
}
