# The artifact bucket: zips under keys that carry their version, and deployctl's ledger of releases.
# Terraform owns the bucket; what is in it is deployctl's.

resource "aws_s3_bucket" "artifacts" {
  # checkov:skip=CKV_AWS_18: who reads and writes is in CloudTrail's data events, which an account switches on for all its buckets
  # checkov:skip=CKV_AWS_144: a region that is lost takes the stage with it; a release can be built again anywhere
  # checkov:skip=CKV_AWS_145: what is in it is code and version numbers; S3's own keys need no one to look after them
  # checkov:skip=CKV2_AWS_62: nobody waits for its events

  # Bucket names are global: the account id keeps two accounts with the same project apart.
  bucket        = "${local.name}-artifacts-${local.account_id}"
  force_destroy = var.artifact_bucket_force_destroy
}

# deployctl never overwrites an artifact; versions protect against everyone else.
resource "aws_s3_bucket_versioning" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  versioning_configuration {
    status = "Enabled"
  }
}

# The lease is written anew by every command, and what is deleted stays as an old version: not for ever.
resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
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

  # Rules about versions want versioning to be on.
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

# No ACLs: whoever writes an object, the bucket's owner owns it.
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

  # S3 copies a promoted zip with the rights of the stage that it is promoted to, which may be in another account.
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
