//! How the clients react when AWS throttles or refuses a call, which the local AWS emulator (MiniStack) does
//! not do. A scripted server gives the answers of the API references.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

mod members;

use super::api_gateway::{ApiStage, AwsStage};
use super::{Aws, Emulator, Target};
use crate::artifact::{Architecture, Sha256};
use crate::engine::failure::Meaning;
use crate::engine::ports::{StagePort as _, Store as _, UploadError};
use crate::engine::preview::PreviewPort as _;
use crate::release::model::Pointer;
use crate::release::patch::patch;
use crate::release::record::ArtifactRecord;
use crate::release::state::{Activity, AliasTarget, ArchitectureChange, Code, Object};

/// A throttling answer with the time to wait.
const THROTTLED: Answer = Answer(
    429,
    "x-amzn-ErrorType: TooManyRequestsException\r\nRetry-After: 2\r\n",
    r#"{"message":"Rate exceeded"}"#,
);
/// The connection ends without an answer.
const LOST: Answer = Answer(0, "", "");
/// API Gateway's answer while another change is in progress.
const CONFLICT: Answer = Answer(
    409,
    "x-amzn-ErrorType: ConflictException\r\n",
    r#"{"message":"Unable to complete operation due to concurrent modification. Please try again later."}"#,
);
const MOVED: Answer = Answer(200, "", r#"{"stageName":"v1","deploymentId":"d2"}"#);
const DEPLOYED: Answer = Answer(201, "", r#"{"id":"d1"}"#);
const PUBLISHED: Answer = Answer(201, "", r#"{"Version":"7","CodeSha256":"abc"}"#);

#[tokio::test]
async fn a_retry_waits_as_long_as_aws_asks() {
    let cloud = ScriptedAws::new(false, [THROTTLED, DEPLOYED]).await;
    assert_eq!(cloud.aws_stage.create_deployment("note").await.unwrap().as_str(), "d1");
    assert_eq!(cloud.gaps(&["POST /restapis/api/deployments", "POST /restapis/api/deployments"]), [2]);
}

/// API Gateway allows one deployment in 5 s, and Lambda 15 calls a second.
#[tokio::test]
async fn calls_are_spaced_before_aws_throttles_them() {
    let cloud = ScriptedAws::new(true, [DEPLOYED, DEPLOYED]).await;
    for _ in 0..2 {
        cloud.aws_stage.create_deployment("note").await.unwrap();
    }
    assert_eq!(cloud.gaps(&["POST /restapis/api/deployments", "POST /restapis/api/deployments"]), [5]);

    let cloud = ScriptedAws::new(true, [PUBLISHED; 31]).await;
    let name = "f".parse().unwrap();
    let calls = (0..31).map(|_| cloud.aws_stage.publish(&name, "abc", None));
    futures::future::try_join_all(calls).await.unwrap();
    let (first, last) = cloud.first_and_last();
    assert!(last - first >= Duration::from_secs(1), "31 calls in {:?}", last - first);
}

#[tokio::test]
async fn an_alias_is_moved_once_by_the_revision_that_was_read() {
    let read = Answer(200, "", r#"{"Name":"live","FunctionVersion":"6","RevisionId":"r1"}"#);
    let stale = Answer(
        412,
        "x-amzn-ErrorType: PreconditionFailedException\r\n",
        r#"{"Message":"The Revision Id provided does not match the latest Revision Id."}"#,
    );
    let cloud = ScriptedAws::new(false, [read, LOST, stale]).await;
    let (name, alias, target) =
        ("f".parse().unwrap(), "live".parse().unwrap(), AliasTarget::only("7".parse().unwrap()));
    let state = cloud.aws_stage.alias(&name, &alias).await.unwrap().unwrap();
    assert_eq!(
        (state.target.version.as_str(), state.revision.as_str(), state.target.second),
        ("6", "r1", None)
    );
    let mut meanings = Vec::new();
    for _ in 0..2 {
        meanings.push(cloud.aws_stage.move_alias(&name, &alias, &target, "r1").await.unwrap_err().meaning);
    }
    assert_eq!(meanings, [Meaning::Unknown, Meaning::Precondition]);
    let path = "/2015-03-31/functions/f/aliases/live";
    let lines = [format!("GET {path}"), format!("PUT {path}"), format!("PUT {path}")];
    cloud.gaps(&lines.each_ref().map(String::as_str));
    let sent = cloud.requests.lock().unwrap().remove(1).body;
    assert_eq!(
        sent,
        r#"{"FunctionVersion":"7","RevisionId":"r1","RoutingConfig":{"AdditionalVersionWeights":{}}}"#
    );
}

#[tokio::test]
async fn an_alias_with_weights_and_one_that_does_not_exist_are_told_apart() {
    let weighted = Answer(
        200,
        "",
        r#"{"FunctionVersion":"$LATEST","RevisionId":"r","RoutingConfig":{"AdditionalVersionWeights":{"5":0.1}}}"#,
    );
    let gone =
        Answer(404, "x-amzn-ErrorType: ResourceNotFoundException\r\n", r#"{"Message":"Alias not found"}"#);
    let cloud = ScriptedAws::new(false, [weighted, gone]).await;
    let read = async || cloud.aws_stage.alias(&"f".parse().unwrap(), &"live".parse().unwrap()).await.unwrap();
    let state = read().await.unwrap();
    assert!(state.target.second.is_some() && state.target.version.as_str() == "$LATEST", "{state:?}");
    assert_eq!(read().await, None);
}

/// The answers of Lambda about a function with a container image.
#[tokio::test]
async fn an_image_is_sent_by_its_uri_and_recognised_by_its_digest() {
    let sha256 = Sha256::of(b"image");
    let answer = |fields: &str| {
        let digest = sha256.hex();
        format!(r#"{{"PackageType":"Image","CodeSha256":"{digest}","State":"Active",{fields}}}"#)
    };
    let uri = format!("111111111111.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:{}", sha256.hex());
    let (latest, published) = (answer(r#""RevisionId":"r","Version":"$LATEST""#), answer(r#""Version":"7""#));
    let cloud = ScriptedAws::answering(false, move |line| {
        (200, String::new(), if line.starts_with("GET") { latest.clone() } else { published.clone() })
    })
    .await;
    let name = "f".parse().unwrap();
    let state = cloud.aws_stage.function(&name).await.unwrap();
    assert!(state.start.is_image && state.start.runtime.is_none());
    let code = Code { key: uri.clone(), s3_version: None, sha256, image: true, architecture: None };
    assert_eq!(state.code_sha256, code.code_sha256());
    let sent = cloud.aws_stage.update_code(&name, &code, "r").await.unwrap();
    assert_eq!((sent.version.as_str(), sent.code_sha256), ("7", code.code_sha256()));
    let body = cloud.requests.lock().unwrap().remove(1).body;
    assert!(body.contains(&format!(r#""ImageUri":"{uri}""#)) && !body.contains("S3"), "{body}");
}

#[tokio::test]
async fn a_role_that_is_not_propagated_yet_is_retried() {
    let not_propagated = Answer(
        400,
        "x-amzn-ErrorType: InvalidParameterValueException\r\n",
        r#"{"Type":"User","message":"The role defined for the function cannot be assumed by Lambda."}"#,
    );
    let cloud = ScriptedAws::new(false, [not_propagated, not_propagated, PUBLISHED]).await;
    let published = cloud.aws_stage.publish(&"f".parse().unwrap(), "abc", None).await.unwrap();
    assert_eq!(published.version.as_str(), "7");
    assert_eq!(cloud.count(), 3);
}

#[tokio::test]
async fn only_active_versions_are_ready() {
    let read = async |answer: &'static str| {
        let cloud = ScriptedAws::new(false, [Answer(200, "", answer)]).await;
        let state = cloud.aws_stage.version(&"f".parse().unwrap(), &"7".parse().unwrap()).await;
        assert_eq!(cloud.count(), 1);
        state.unwrap().unwrap().activity
    };
    let failed =
        r#"{"State":"Active","LastUpdateStatus":"Failed","LastUpdateStatusReason":"no address left"}"#;
    let idle = r#"{"State":"Inactive","StateReason":"The function is idle","StateReasonCode":"Idle"}"#;
    for (answer, expected) in [
        (r#"{"State":"Active","LastUpdateStatus":"Successful"}"#, Activity::Active),
        (idle, Activity::Inactive("Inactive: The function is idle".into())),
        (failed, Activity::Failed("the update failed: no address left".into())),
        (r#"{"State":"Failed"}"#, Activity::Failed("Failed".into())),
        (r#"{"State":"Deactivated"}"#, Activity::Failed("Deactivated".into())),
        (r#"{"State":"Pending","LastUpdateStatus":"InProgress"}"#, Activity::Pending("Pending".into())),
        (r#"{"State":"ActiveNonInvocable"}"#, Activity::Pending("ActiveNonInvocable".into())),
        (r#"{"State":"StateOfTheFuture"}"#, Activity::Pending("StateOfTheFuture".into())),
        ("{}", Activity::Pending("no state".into())),
    ] {
        assert_eq!(read(answer).await, expected, "{answer}");
    }
}

#[tokio::test]
async fn an_inactive_version_is_invoked_once_with_an_event_that_names_no_route() {
    let not_ready = Answer(
        502,
        "x-amzn-ErrorType: ResourceNotReadyException\r\n",
        r#"{"Type":"Server","Message":"The function is inactive"}"#,
    );
    let cloud = ScriptedAws::new(false, [not_ready]).await;
    let failure = cloud.aws_stage.wake(&"f".parse().unwrap(), &"7".parse().unwrap()).await.unwrap_err();
    assert!(failure.to_string().contains("ResourceNotReadyException"), "{failure}");
    assert_eq!(cloud.gaps(&["POST /2015-03-31/functions/f/invocations?Qualifier=7"]), [0; 0]);
    assert_eq!(
        cloud.requests.lock().unwrap().remove(0).body,
        r#"{"detail-type":"wake","source":"deployctl"}"#
    );
}

#[tokio::test]
async fn an_update_in_progress_is_read_until_it_ends() {
    let updating = Answer(200, "", r#"{"State":"Active","LastUpdateStatus":"InProgress","RevisionId":"1"}"#);
    let done = Answer(200, "", r#"{"State":"Active","LastUpdateStatus":"Successful","RevisionId":"2"}"#);
    let cloud = ScriptedAws::new(false, [updating, updating, done]).await;
    assert_eq!(cloud.aws_stage.function(&"f".parse().unwrap()).await.unwrap().revision, "2");
    assert_eq!(cloud.gaps(&["GET /2015-03-31/functions/f/configuration"; 3]), [1, 1]);
}

#[tokio::test]
async fn the_architecture_is_sent_only_if_it_changes() {
    let change = ArchitectureChange { from: Architecture::X86_64, to: Architecture::Arm64 };
    for (architecture, sent) in [(None, false), (Some(change), true)] {
        let cloud = ScriptedAws::new(false, [PUBLISHED]).await;
        let code = Code {
            key: "k".into(),
            s3_version: None,
            sha256: crate::artifact::Sha256::of(b"zip"),
            image: false,
            architecture,
        };
        cloud.aws_stage.update_code(&"f".parse().unwrap(), &code, "r").await.unwrap();
        let body = cloud.requests.lock().unwrap().remove(0).body;
        assert_eq!(body.contains(r#""Architectures":["arm64"]"#), sent, "{body}");
        assert_eq!(body.contains("Architectures"), sent, "{body}");
    }
}

#[tokio::test]
async fn a_temporary_conflict_is_retried() {
    let pointer = |id: &str, variables: &[(&str, &str)]| Pointer {
        deployment_id: id.parse().unwrap(),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let (from, to) = (pointer("d1", &[("f", "1"), ("g", "1")]), pointer("d2", &[("f", "2"), ("g", "1")]));
    // The switch is made once: the engine confirms its lease before it makes another attempt.
    let cloud = ScriptedAws::new(false, [CONFLICT, MOVED]).await;
    let failure = cloud.aws_stage.update_stage(&patch(&from, &to)).await.unwrap_err();
    assert_eq!((failure.meaning, failure.is_transient(), cloud.count()), (Meaning::Busy, true, 1));
    cloud.aws_stage.update_stage(&patch(&from, &to)).await.unwrap();
    let request = cloud.requests.lock().unwrap().remove(1).body;
    for path in ["/deploymentId", "/variables/f", "/variables/g"] {
        assert!(request.contains(path), "{path}: the whole target is sent: {request}");
    }
    // The retry table repeats every other call.
    let cloud = ScriptedAws::new(false, [CONFLICT, CONFLICT, DEPLOYED]).await;
    cloud.aws_stage.create_deployment("note").await.unwrap();
    assert_eq!(cloud.count(), 3);
    let permanent = Answer(
        409,
        "x-amzn-ErrorType: ConflictException\r\n",
        r#"{"message":"Active stages pointing to this deployment must be moved or deleted"}"#,
    );
    let cloud = ScriptedAws::new(false, [permanent]).await;
    let failure = cloud.aws_stage.update_stage(&patch(&from, &to)).await.unwrap_err();
    assert_eq!((failure.meaning, failure.is_transient(), cloud.count()), (Meaning::Busy, false, 1));
}

/// CreateDeployment has no idempotency token: after a lost answer, the deployment is found by its
/// description.
#[tokio::test]
async fn a_deployment_is_found_after_a_lost_answer() {
    let created = Answer(200, "", r#"{"item":[{"id":"d9","description":"note","createdDate":1}]}"#);
    let none = Answer(200, "", r#"{"item":[{"id":"d8","description":"another","createdDate":1}]}"#);
    let (create, list) = ("POST /restapis/api/deployments", "GET /restapis/api/deployments?limit=500");
    for (answers, id, lines) in [
        (vec![LOST, created], "d9", vec![create, list]),
        (vec![LOST, none, DEPLOYED], "d1", vec![create, list, create]),
    ] {
        let cloud = ScriptedAws::new(false, answers).await;
        assert_eq!(cloud.aws_stage.create_deployment("note").await.unwrap().as_str(), id);
        assert_eq!(cloud.gaps(&lines).len(), lines.len() - 1);
    }
}

#[tokio::test]
async fn a_refusal_is_not_retried() {
    let denied = Answer(
        403,
        "x-amzn-ErrorType: AccessDeniedException\r\n",
        r#"{"message":"not authorized to perform: apigateway:POST"}"#,
    );
    let cloud = ScriptedAws::new(false, [denied]).await;
    let failure = cloud.aws_stage.create_deployment("note").await.unwrap_err();
    assert_eq!((failure.meaning, cloud.count()), (Meaning::Denied, 1));
    assert!(failure.to_string().contains("not authorized to perform: apigateway:POST"), "{failure}");
}

/// The SDK would repeat each of these for a minute: 429 and 502 look temporary, and so does the code
/// `LimitExceededException`.
#[tokio::test]
async fn an_exhausted_quota_is_not_retried() {
    let full = r#"{"message":"Maximum number of deployments per REST API has been reached."}"#;
    for status in [400, 429] {
        let answer = Answer(status, "x-amzn-ErrorType: LimitExceededException\r\n", full);
        let cloud = ScriptedAws::new(false, [answer]).await;
        let failure = cloud.aws_stage.create_deployment("note").await.unwrap_err();
        assert_eq!((failure.meaning, cloud.count()), (Meaning::Rejected, 1), "{status}");
        assert!(failure.hint("live", "").contains("deployctl prune"), "{failure:?}");
    }
    let full = r#"{"message":"Maximum number of stages for this API has been reached."}"#;
    let answer = Answer(429, "x-amzn-ErrorType: LimitExceededException\r\n", full);
    let cloud = ScriptedAws::new(false, [answer]).await;
    let pointer = Pointer { deployment_id: "d1".parse().unwrap(), variables: BTreeMap::new() };
    let description =
        "deployctl preview of=dev expires=2026-12-05T10:00:00Z commit=none id=n".parse().unwrap();
    let failure = cloud.aws_stage.create_stage("preview-a", &pointer, &description).await.unwrap_err();
    assert_eq!((failure.code.as_deref(), cloud.count()), (Some("LimitExceededException"), 1));
    let key = Answer(
        502,
        "x-amzn-ErrorType: KMSDisabledException\r\n",
        r#"{"Type":"User","Message":"Lambda was unable to decrypt the environment variables because the KMS key used is disabled."}"#,
    );
    let cloud = ScriptedAws::new(false, [key]).await;
    let (name, version) = ("f".parse().unwrap(), "7".parse().unwrap());
    let failure = cloud.aws_stage.invoke(&name, &version, &serde_json::Value::Null).await.unwrap_err();
    assert_eq!((failure.meaning, cloud.count()), (Meaning::Rejected, 1));
    assert!(failure.hint("live", "").contains("KMS key"), "{failure:?}");
}

#[tokio::test]
async fn an_expired_session_is_not_a_missing_permission() {
    let expired = Answer(
        403,
        "x-amzn-ErrorType: ExpiredTokenException\r\n",
        r#"{"message":"The security token included in the request is expired"}"#,
    );
    let cloud = ScriptedAws::new(false, [expired]).await;
    let failure = cloud.aws_stage.create_deployment("note").await.unwrap_err();
    assert_eq!((failure.meaning, cloud.count()), (Meaning::Unauthenticated, 1));
    assert!(failure.hint("the old release serves", "").contains("log in again"), "{failure:?}");
}

#[tokio::test]
async fn a_bucket_in_another_region_is_an_error_with_the_region() {
    let elsewhere = Answer(
        301,
        "x-amz-bucket-region: eu-west-1\r\ncontent-type: application/xml\r\n",
        "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed \
         using the specified endpoint.</Message></Error>",
    );
    let cloud = ScriptedAws::new(false, [elsewhere, elsewhere]).await;
    let bucket = cloud.aws.bucket("b");
    let read = bucket.read("key").await.unwrap_err();
    let written = bucket.create("key", b"{}").await.unwrap_err();
    for failure in [read, written] {
        assert_eq!(failure.meaning, Meaning::Rejected, "{failure:?}");
        assert!(failure.message.contains("the bucket is in eu-west-1"), "{failure}");
        assert!(failure.hint("live", "").contains("another region"), "{failure:?}");
    }
    assert_eq!(cloud.count(), 2);
}

/// Every call names the account that must own the bucket, and a copy also that of its source.
#[tokio::test]
async fn no_call_is_made_to_the_bucket_of_somebody_else() {
    let cloud = ScriptedAws::answering(false, |line| match line.split(['?', ' ']).nth(1) {
        // So that a copy is sent.
        Some("/to/new.zip") if line.starts_with("HEAD") => (404, String::new(), String::new()),
        _ => (200, "etag: \"e\"\r\n".to_owned(), String::new()),
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let (own, other) = ("111111111111".parse().unwrap(), "222222222222".parse().unwrap());
    let (bucket, from) = (cloud.aws.bucket_of(&other, "to"), cloud.aws.bucket_in("eu-west-1", &own, "from"));
    let sha256 = Sha256::of(b"");
    let artifact = zip(sha256);
    // Some of the answers are no answers of these calls. What counts is what is sent.
    drop(bucket.read("k").await);
    drop(bucket.create("k", b"").await);
    drop(bucket.replace("k", b"", "\"e\"").await);
    drop(bucket.keys("k").await);
    drop(bucket.purge(&["k".to_owned()]).await);
    let object = Object { key: "k".to_owned(), s3_version: None, bytes: 0, modified: 0 };
    drop(bucket.delete(&[object]).await);
    drop(bucket.upload("k", file.path(), &sha256, None).await);
    drop(bucket.has("k").await);
    drop(bucket.verify_artifact(&artifact).await);
    drop(bucket.copy(&from, &artifact, "\"e\"", "new.zip").await);
    drop(bucket.is_versioned().await);
    drop(bucket.ensure_state_bucket("eu-west-1", &other).await);
    drop(cloud.aws.bucket_facts(&other, "to").await);
    drop(cloud.aws.may_put(&other, "to", "k").await);
    let requests = cloud.requests.lock().unwrap();
    assert!(requests.len() >= 18, "{requests:#?}");
    for request in requests.iter() {
        let has = |header: &str| request.headers.iter().any(|line| line == header);
        assert!(has("x-amz-expected-bucket-owner: 222222222222"), "{request:#?}");
        let copies = request.headers.iter().any(|line| line.starts_with("x-amz-copy-source:"));
        assert_eq!(has("x-amz-source-expected-bucket-owner: 111111111111"), copies, "{request:#?}");
    }
    assert!(requests.iter().any(|request| request.line.starts_with("PUT /to/new.zip")), "{requests:#?}");
}

/// The bucket of the Terraform state is only created in the account that must own it.
#[tokio::test]
async fn a_missing_state_bucket_of_another_account_is_not_created() {
    let cloud = ScriptedAws::new(false, [Answer(404, "", "")]).await;
    let (own, other) = ("111111111111".parse().unwrap(), "222222222222".parse().unwrap());
    let failure = cloud.aws.bucket_of(&other, "b").ensure_state_bucket("eu-west-1", &own).await.unwrap_err();
    assert_eq!((failure.meaning, cloud.count()), (Meaning::NotFound, 1));
}

/// A zip of a record.
fn zip(sha256: Sha256) -> ArtifactRecord {
    let key = "a.zip".to_owned();
    ArtifactRecord { key, s3_version: None, sha256, size: 0, architecture: None, image: false }
}

/// Some S3s ignore the condition of CopyObject: nothing is copied over bytes that are there, and what is there after
/// a copy is compared.
#[tokio::test]
async fn a_copy_does_not_depend_on_its_condition() {
    let other = format!("x-amz-checksum-sha256: {}\r\n", Sha256::of(b"other").base64());
    let sha256 = Sha256::of(b"released");
    let artifact = zip(sha256);
    let copied = "<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>";
    for there_before in [true, false] {
        let (other, mut was_copied) = (other.clone(), false);
        let cloud = ScriptedAws::answering(false, move |line| match line.split(' ').next() {
            Some("HEAD") if there_before || was_copied => (200, other.clone(), String::new()),
            Some("HEAD") => (404, String::new(), String::new()),
            _ => {
                was_copied = true;
                (200, String::new(), copied.to_owned())
            }
        })
        .await;
        let answer = cloud.aws.bucket("to").copy(&cloud.aws.bucket("from"), &artifact, "\"e\"", "k").await;
        assert!(matches!(answer, Err(UploadError::OtherBytes { .. })), "{answer:?}");
        let copies = cloud.requests.lock().unwrap().iter().filter(|it| it.line.starts_with("PUT")).count();
        assert_eq!(copies, usize::from(!there_before));
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_not_an_answer_of_aws() {
    let page = Answer(403, "content-type: text/html\r\n", "<html><body>Blocked</body></html>");
    let cloud = ScriptedAws::new(false, [page]).await;
    let failure = cloud.aws_stage.create_deployment("note").await.unwrap_err();
    assert!(failure.message.contains("HTTP 403 with an HTML page"), "{failure}");
}

/// An answer of the form that the API reference of IAM shows.
const SIMULATED: &str = r#"<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
  <SimulatePrincipalPolicyResult>
    <IsTruncated>false</IsTruncated>
    <EvaluationResults>
      <member>
        <MatchedStatements>
          <member>
            <SourcePolicyId>PolicyInputList.1</SourcePolicyId>
            <EndPosition><Column>4</Column><Line>7</Line></EndPosition>
            <StartPosition><Column>16</Column><Line>3</Line></StartPosition>
          </member>
        </MatchedStatements>
        <MissingContextValues/>
        <EvalResourceName>arn:aws:s3:::b/k</EvalResourceName>
        <EvalDecision>allowed</EvalDecision>
        <EvalActionName>s3:GetObject</EvalActionName>
      </member>
      <member>
        <MatchedStatements/>
        <MissingContextValues/>
        <EvalResourceName>arn:aws:s3:::b/k</EvalResourceName>
        <EvalDecision>implicitDeny</EvalDecision>
        <EvalActionName>s3:PutObject</EvalActionName>
      </member>
    </EvaluationResults>
  </SimulatePrincipalPolicyResult>
  <ResponseMetadata><RequestId>1cdb5b0a-4c15-11e5-b121-bd8c7EXAMPLE</RequestId></ResponseMetadata>
</SimulatePrincipalPolicyResponse>"#;

const DENIED: &str = r#"<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>not authorized to perform: iam:SimulatePrincipalPolicy</Message></Error>
<RequestId>1</RequestId></ErrorResponse>"#;

#[tokio::test]
async fn denied_actions_are_read_from_the_policy_simulator() {
    let actions = ["s3:GetObject", "s3:PutObject"];
    let (role, object) = ("arn:aws:iam::111111111111:role/r", "arn:aws:s3:::b/k");
    let cloud = ScriptedAws::new(false, [Answer(200, "", SIMULATED), Answer(403, "", DENIED)]).await;
    let verdicts = cloud.aws.simulate(role, &actions, object).await.unwrap();
    let denied: Vec<String> =
        verdicts.into_iter().map(|verdict| format!("{} {}", verdict.action, verdict.decision)).collect();
    assert_eq!(denied, ["s3:PutObject implicitDeny"]);
    let request = cloud.requests.lock().unwrap().remove(0).body;
    for part in [
        "Action=SimulatePrincipalPolicy",
        "PolicySourceArn=arn%3Aaws%3Aiam%3A%3A111111111111%3Arole%2Fr",
        "ActionNames.member.2=s3%3APutObject",
        "ResourceArns.member.1=arn%3Aaws%3As3%3A%3A%3Ab%2Fk",
    ] {
        assert!(request.contains(part), "{part}: {request}");
    }
    assert_eq!(cloud.aws.simulate(role, &actions, object).await.unwrap_err().meaning, Meaning::Denied);
}

/// Status, headers and body.
#[derive(Debug, Clone, Copy)]
struct Answer(u16, &'static str, &'static str);

/// A server that gives the answers one after the other, and records the requests.
struct ScriptedAws {
    aws: Aws,
    aws_stage: AwsStage,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A recorded request.
#[derive(Debug)]
struct Request {
    /// Method and path.
    line: String,
    /// In lower case.
    headers: Vec<String>,
    body: String,
    at: Instant,
}

impl ScriptedAws {
    async fn new(pacing: bool, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        Self::answering(pacing, move |_| {
            let Answer(status, headers, body) =
                answers.pop_front().unwrap_or(Answer(404, "", "unexpected request"));
            (status, headers.to_owned(), body.to_owned())
        })
        .await
    }

    /// A server whose answers (status, headers, body) depend on method and path.
    async fn answering(
        pacing: bool,
        mut answer: impl FnMut(&str) -> (u16, String, String) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let recorded = Arc::clone(&requests);
        drop(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Some(request) = read_request(&mut client).await else { continue };
                let (status, headers, answer) = answer(&request.line);
                recorded.lock().unwrap().push(request);
                if status == 0 {
                    continue;
                }
                let text = format!(
                    "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\
                     Connection: close\r\n\r\n{answer}",
                    answer.len()
                );
                client.write_all(text.as_bytes()).await.unwrap();
            }
        }));
        let target = Target {
            stage: "dev".parse().unwrap(),
            account: "111111111111".parse().unwrap(),
            artifact_bucket_account: "111111111111".parse().unwrap(),
            region: "eu-west-1".to_owned(),
            profile: None,
            emulator: Some(Emulator {
                endpoint: format!("http://127.0.0.1:{port}"),
                secret: "any".to_owned(),
            }),
            pacing,
            call_timeout: super::timeouts::CALL,
            trust: super::http::Trust::default(),
        };
        let stage = ApiStage {
            artifact_bucket: "bucket",
            rest_api_id: "api",
            stage_name: "v1",
            url: "http://unused",
        };
        let aws = Aws::connect(target).await;
        let aws_stage = aws.aws_stage(&stage).unwrap();
        Self { aws, aws_stage, requests }
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn first_and_last(&self) -> (Instant, Instant) {
        let requests = self.requests.lock().unwrap();
        (requests[0].at, requests[requests.len() - 1].at)
    }

    /// Asserts the requests, and returns the whole seconds between them.
    fn gaps(&self, expected: &[&str]) -> Vec<u64> {
        let requests = self.requests.lock().unwrap();
        let lines: Vec<&str> = requests.iter().map(|request| request.line.as_str()).collect();
        assert_eq!(lines, expected);
        requests.windows(2).map(|two| (two[1].at - two[0].at).as_secs()).collect()
    }
}

/// A request, its first line without the protocol.
async fn read_request(client: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(client);
    let (mut first, mut headers, mut length) = (None, Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        headers.push(line.to_ascii_lowercase());
        first.get_or_insert_with(|| line.trim_end_matches(" HTTP/1.1").to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Request { line: first?, headers, body, at: Instant::now() })
}
