//! The checks of S3: conditional writes, checksums and reads, under the sandbox's prefix of the artifact bucket.

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode};

use super::lambda::told;
use super::sandbox::{Sandbox, refusal};
use super::{Observation, Stop};
use crate::artifact::Sha256;
use crate::engine::failure::{Failure, Meaning};

const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";

fn no_bucket() -> Observation {
    Observation::not_tried("the stage has no artifact bucket")
}

fn put(sandbox: &Sandbox, bucket: &str, name: &str, body: &'static [u8]) -> PutObjectFluentBuilder {
    let put = sandbox
        .aws
        .s3
        .put_object()
        .bucket(bucket)
        .expected_bucket_owner(sandbox.owner())
        .key(sandbox.key(name));
    put.body(ByteStream::from_static(body))
}

/// The ETag of the object that was written.
async fn send(sandbox: &Sandbox, put: PutObjectFluentBuilder) -> Result<Result<String, Failure>, Stop> {
    let answer = refusal(sandbox.call("PutObject", put.send()).await)?;
    Ok(answer.map(|answer| answer.e_tag().unwrap_or_default().to_owned()))
}

/// A refused condition, by S3's status.
fn is_unmet<T>(answer: &Result<T, Failure>) -> bool {
    answer.as_ref().is_err_and(|failure| failure.meaning == Meaning::Precondition)
}

fn text<T>(answer: &Result<T, Failure>) -> String {
    match answer {
        Ok(_) => "accepted".to_owned(),
        Err(failure) => told(failure),
    }
}

pub(super) async fn put_if_none_match(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(bucket) = sandbox.bucket() else { return Ok(no_bucket()) };
    let first = send(sandbox, put(sandbox, bucket, "once", FIRST).if_none_match("*")).await?;
    let second = send(sandbox, put(sandbox, bucket, "once", SECOND).if_none_match("*")).await?;
    let observed = format!("first {}; second {}", text(&first), text(&second));
    Ok(Observation::of(first.is_ok() && is_unmet(&second), observed))
}

pub(super) async fn put_if_match(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(bucket) = sandbox.bucket() else { return Ok(no_bucket()) };
    let etag = send(sandbox, put(sandbox, bucket, "replaced", FIRST)).await??;
    let right = send(sandbox, put(sandbox, bucket, "replaced", SECOND).if_match(&etag)).await?;
    let wrong = send(sandbox, put(sandbox, bucket, "replaced", FIRST).if_match(&etag)).await?;
    let none = send(sandbox, put(sandbox, bucket, "missing", FIRST).if_match(&etag)).await?;
    let missing = none.as_ref().is_err_and(|failure| failure.meaning == Meaning::NotFound);
    let observed =
        format!("right ETag {}; other ETag {}; no object {}", text(&right), text(&wrong), text(&none));
    Ok(Observation::of(right.is_ok() && is_unmet(&wrong) && missing, observed))
}

pub(super) async fn copy_if_none_match(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(bucket) = sandbox.bucket() else { return Ok(no_bucket()) };
    send(sandbox, put(sandbox, bucket, "source", FIRST)).await??;
    let source = format!("{bucket}/{}", sandbox.key("source"));
    let copy = async || {
        let copy = sandbox
            .aws
            .s3
            .copy_object()
            .bucket(bucket)
            .expected_bucket_owner(sandbox.owner())
            .key(sandbox.key("copy"))
            .copy_source(&source);
        let copy = copy.expected_source_bucket_owner(sandbox.owner());
        refusal(sandbox.call("CopyObject", copy.if_none_match("*").send()).await)
    };
    let (first, second) = (copy().await?, copy().await?);
    let observed = format!("first {}; second {}", text(&first), text(&second));
    Ok(Observation::of(first.is_ok() && is_unmet(&second), observed))
}

pub(super) async fn checksum(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(bucket) = sandbox.bucket() else { return Ok(no_bucket()) };
    let put = put(sandbox, bucket, "checksum", FIRST).checksum_algorithm(ChecksumAlgorithm::Sha256);
    send(sandbox, put).await??;
    let head = sandbox
        .aws
        .s3
        .head_object()
        .bucket(bucket)
        .expected_bucket_owner(sandbox.owner())
        .key(sandbox.key("checksum"));
    let head = sandbox.call("HeadObject", head.checksum_mode(ChecksumMode::Enabled).send()).await?;
    let (found, expected) = (head.checksum_sha256().unwrap_or("none"), Sha256::of(FIRST).base64());
    Ok(Observation::of(found == expected, format!("checksum {found}, SHA-256 of the bytes {expected}")))
}

pub(super) async fn read_after_write(sandbox: &Sandbox) -> Result<Observation, Stop> {
    let Some(bucket) = sandbox.bucket() else { return Ok(no_bucket()) };
    for body in [FIRST, SECOND] {
        send(sandbox, put(sandbox, bucket, "read", body)).await??;
        let get = sandbox
            .aws
            .s3
            .get_object()
            .bucket(bucket)
            .expected_bucket_owner(sandbox.owner())
            .key(sandbox.key("read"));
        let answer = sandbox.call("GetObject", get.send()).await?;
        let found = answer.body.collect().await.map(|bytes| bytes.into_bytes());
        if found.as_deref().ok() != Some(body) {
            return Ok(Observation::of(false, "a read returned another object"));
        }
    }
    Ok(Observation::of(true, "each of two reads returned the object of the write before it"))
}
