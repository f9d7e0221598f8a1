# The artifact bucket: zips with the version in their key, and deployctl's release ledger. Terraform manages the bucket,
# deployctl its objects.

resource "aws_s3_bucket" "artifacts" {
  # checkov:skip=CKV_AWS_18: access is logged by CloudTrail data events, which are enabled per account
  # checkov:skip=CKV_AWS_144: if a region fails, the stage is not available either; a release can be built again in another region
  # checkov:skip=CKV_AWS_145: it contains code and version numbers; S3 managed keys need no maintenance
  # checkov:skip=CKV2_AWS_62: nothing consumes its events

  # Bucket names are global: the account id makes the name unique.
  bucket        = "${local.name}-artifacts-${local.account_id}"
  force_destroy = var.artifact_bucket_force_destroy
}

# deployctl never overwrites an artifact. Versioning protects against other writers.
resource "aws_s3_bucket_versioning" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  versioning_configuration {
    status = "Enabled"
  }
}

# Every command writes the lease, and deleted objects remain as noncurrent versions. They expire. The bucket of a temporary
# stage goes away with them; there the provider's wait for the rule, 55 seconds, would be a third of the first release.
resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  count = var.artifact_bucket_force_destroy ? 0 : 1

  bucket = aws_s3_bucket.artifacts.id

  rule {
    id     = "forget-what-was-replaced"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 90
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # A rule for noncurrent versions requires versioning.
  depends_on = [aws_s3_bucket_versioning.artifacts]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# Disables ACLs: the owner of the bucket owns every object.
resource "aws_s3_bucket_ownership_controls" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

data "aws_iam_policy_document" "artifacts" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.artifacts.arn, "${aws_s3_bucket.artifacts.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # A promotion copies a zip with the permissions of the target stage, which may be in another account.
  dynamic "statement" {
    for_each = length(var.artifact_bucket_readers) > 0 ? [1] : []

    content {
      sid       = "Promote"
      actions   = ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"]
      resources = [aws_s3_bucket.artifacts.arn, "${aws_s3_bucket.artifacts.arn}/*"]

      principals {
        type        = "AWS"
        identifiers = [for account in var.artifact_bucket_readers : "arn:${local.partition}:iam::${account}:root"]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id
  policy = data.aws_iam_policy_document.artifacts.json

  # S3 answers 409 when a bucket's policy and its public access block are changed at the same time.
  depends_on = [aws_s3_bucket_public_access_block.artifacts]
}
