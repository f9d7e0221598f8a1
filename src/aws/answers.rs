//! AWS's error codes: what a code means for a release, whether another attempt can succeed, and what the user
//! can do. A code that is not listed is judged by the HTTP status.

use crate::engine::failure::{Meaning, is_try_again_later};

/// An answer that AWS gives with one of `codes` and, if `text` is not empty, with this text in its message.
#[derive(Debug)]
pub(super) struct Answer {
    codes: &'static [&'static str],
    text: &'static str,
    pub(super) meaning: Meaning,
    /// Whether every further attempt would fail as well, whatever the HTTP status says.
    pub(super) is_permanent: bool,
    /// What the user can do; it completes a hint.
    pub(super) advice: Option<&'static str>,
}

const fn answer(codes: &'static [&'static str], meaning: Meaning) -> Answer {
    Answer { codes, text: "", meaning, is_permanent: false, advice: None }
}

impl Answer {
    const fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// Another attempt fails as well, until the user follows `advice`.
    const fn until(self, advice: &'static str) -> Self {
        Self { is_permanent: true, advice: Some(advice), ..self }
    }
}

/// The first row that matches counts.
const ANSWERS: &[Answer] = &[
    // Credentials.
    answer(
        &["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"],
        Meaning::Unauthenticated,
    )
    .until("the credentials have expired: log in again, and run the command again"),
    answer(&["InvalidSignatureException", "SignatureDoesNotMatch"], Meaning::Unauthenticated)
        .text("Signature expired")
        .until(CLOCK),
    answer(&["InvalidSignatureException", "SignatureDoesNotMatch"], Meaning::Unauthenticated)
        .text("Signature not yet current")
        .until(CLOCK),
    answer(&["RequestTimeTooSkewed"], Meaning::Unauthenticated).until(CLOCK),
    answer(
        &[
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "IncompleteSignatureException",
        ],
        Meaning::Unauthenticated,
    )
    .until("the secret access key does not match the access key: check AWS_PROFILE or the AWS_ variables"),
    answer(
        &[
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "InvalidAccessKeyId",
            "InvalidToken",
            "AuthFailure",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
        ],
        Meaning::Unauthenticated,
    )
    .until("AWS does not know the access key or its session: check AWS_PROFILE or the AWS_ variables"),
    answer(
        &[
            "OptInRequired",
            "NotSignedUp",
            "SubscriptionRequiredException",
            "AccountProblem",
            "RegionDisabledException",
        ],
        Meaning::Unauthenticated,
    )
    .until("the account cannot use this service or region: enable it in the AWS console"),
    answer(&["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"], Meaning::Denied)
        .text("control policy")
        .until("a policy of the organization denies the call to every role: ask those who manage the organization"),
    answer(
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AllAccessDisabled",
            "ForbiddenException",
            "UnauthorizedException",
            "UnauthorizedOperation",
        ],
        Meaning::Denied,
    ),
    // Quotas.
    answer(&["CodeStorageExceededException"], Meaning::Rejected).until(
        "Lambda's code storage in this region is full: delete old versions with `deployctl prune --keep 5`, \
         and run the command again",
    ),
    answer(&["LimitExceededException"], Meaning::Rejected).text("deployments").until(
        "the API has as many deployments as API Gateway allows: delete old ones with \
         `deployctl prune --keep 5`, and run the command again",
    ),
    answer(&["BadRequestException", "LimitExceededException"], Meaning::Rejected).text("number of stages").until(
        "the API has as many stages as API Gateway allows: close previews with `deployctl preview down`, or \
         request a higher quota of \"Stages per API\"",
    ),
    answer(&["LimitExceededException"], Meaning::Rejected)
        .text("Maximum number of")
        .until("a quota of API Gateway is exhausted: request a higher one in Service Quotas"),
    answer(
        &["ServiceQuotaExceededException", "TooManyBuckets", "PolicyLengthExceededException"],
        Meaning::Rejected,
    )
    .until("a quota of the account is exhausted: request a higher one in Service Quotas"),
    answer(&["ENILimitReachedException"], Meaning::Rejected).until(
        "the VPC has as many network interfaces as its quota allows: delete unused ones, or request a higher \
         quota of \"Network interfaces per Region\"",
    ),
    answer(&["SubnetIPAddressLimitReachedException"], Meaning::Rejected).until(
        "a subnet of the function has no free IP address: add a larger subnet to the function in Terraform",
    ),
    answer(
        &[
            "RequestEntityTooLargeException",
            "RequestTooLargeException",
            "RequestEntityTooLarge",
            "EntityTooLarge",
        ],
        Meaning::Rejected,
    )
    .until("AWS accepts only smaller requests: reduce the size of the zip or of the payload"),
    // Regions.
    answer(&["PermanentRedirect", "TemporaryRedirect", "Redirect"], Meaning::Rejected).until(BUCKET_REGION),
    answer(
        &["AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "IncorrectEndpoint"],
        Meaning::Rejected,
    )
    .until(BUCKET_REGION),
    // Encryption.
    answer(&["KMSAccessDeniedException"], Meaning::Rejected)
        .until("the function's role must be allowed kms:Decrypt with the function's KMS key"),
    answer(
        &[
            "KMSDisabledException",
            "KMSInvalidStateException",
            "KMSNotFoundException",
            "KMS.DisabledException",
            "KMS.KMSInvalidStateException",
            "KMS.NotFoundException",
        ],
        Meaning::Rejected,
    )
    .until("the KMS key is disabled, deleted or not ready: enable it, or change the key in Terraform"),
    // The API.
    answer(&["BadRequestException"], Meaning::Rejected).text("Update size too large").until(
        "API Gateway accepts only smaller changes of a stage in one call: serve fewer functions with this \
         stage, and report how many it has",
    ),
    answer(&["BadRequestException", "NotFoundException"], Meaning::Rejected)
        .text("No integration defined for method")
        .until("a method of the API has no integration: add it in Terraform"),
    // Functions that cannot start.
    answer(&["EC2AccessDeniedException"], Meaning::Rejected).until(
        "the function's role must be allowed to create network interfaces (AWSLambdaVPCAccessExecutionRole)",
    ),
    answer(&["InvalidSecurityGroupIDException", "InvalidSubnetIDException"], Meaning::Rejected).until(
        "a subnet or security group of the function does not exist: apply the layer of the function again",
    ),
    answer(&["InvalidRuntimeException", "InvalidZipFileException"], Meaning::Rejected).until(
        "Lambda cannot use the zip with the function's runtime: compare `runtime` in Terraform with the zip",
    ),
    answer(&["CodeArtifactUserDeletedException", "CodeArtifactUserFailedException"], Meaning::Rejected).until(
        "Lambda cannot prepare the code of the version: release it again under another version number",
    ),
    answer(
        &[
            "CodeVerificationFailedException",
            "InvalidCodeSignatureException",
            "CodeSigningConfigNotFoundException",
        ],
        Meaning::Rejected,
    )
    .until(
        "the function accepts only signed code, and deployctl does not sign: remove the code signing \
         configuration, or release signed zips with --artifacts",
    ),
    answer(&["InvalidParameterValueException"], Meaning::Rejected).text("Unzipped size must be smaller").until(
        "the zip and the layers of the function are together larger than Lambda allows: make them smaller",
    ),
    answer(&["InvalidParameterValueException"], Meaning::Rejected).text("cannot be assumed by Lambda"),
    // Changes of other callers.
    answer(&["ResourceConflictException"], Meaning::Busy).text("in progress"),
    answer(&["ResourceConflictException"], Meaning::Busy).text("state: Pending"),
    answer(&["ResourceConflictException"], Meaning::Rejected),
    answer(
        &[
            "CodeArtifactUserPendingException",
            "ConflictException",
            "EC2ThrottledException",
            "ENINotReadyException",
            "OperationAborted",
            "RequestLimitExceeded",
            "ResourceInUseException",
            "ResourceNotReadyException",
            "SnapStartNotReadyException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ],
        Meaning::Busy,
    ),
    answer(
        &["ConditionalRequestConflict", "PreconditionFailed", "PreconditionFailedException"],
        Meaning::Precondition,
    ),
    // The socket was closed before S3 had read the request; its status is 400.
    answer(&["RequestTimeout", "RequestTimeoutException"], Meaning::Unknown),
    answer(
        &[
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchVersion",
            "NotFound",
            "NotFoundException",
            "ProvisionedConcurrencyConfigNotFoundException",
            "ResourceNotFoundException",
        ],
        Meaning::NotFound,
    ),
];

const CLOCK: &str = "the clock of this machine is wrong: set it, and run the command again";

const BUCKET_REGION: &str = "the bucket is in another region than the stage: correct `region` of the stage in \
                             deployctl.toml, or the name of the bucket";

/// The row of an answer.
pub(super) fn find(code: Option<&str>, message: &str) -> Option<&'static Answer> {
    let code = code?;
    ANSWERS.iter().find(|answer| answer.codes.contains(&code) && message.contains(answer.text))
}

/// The meaning of an answer.
pub(super) fn meaning(status: Option<u16>, code: Option<&str>, message: &str) -> Meaning {
    if let Some(answer) = find(code, message) {
        return answer.meaning;
    }
    match status {
        Some(404) => Meaning::NotFound,
        Some(412) => Meaning::Precondition,
        Some(401 | 403) => Meaning::Denied,
        Some(429) => Meaning::Busy,
        // A redirect has no effect.
        Some(300..=499) => Meaning::Rejected,
        _ => Meaning::Unknown,
    }
}

/// What the user can do about an answer.
pub(super) fn advice(status: Option<u16>, code: Option<&str>, message: &str) -> Option<&'static str> {
    match (find(code, message), status) {
        (Some(answer), _) => answer.advice,
        // The answer to HEAD has no body, and so no code.
        (None, Some(301 | 307 | 308)) => Some(BUCKET_REGION),
        (None, Some(409)) if is_try_again_later(message) => Some("run the command again in a moment"),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_and_otherwise_the_status() {
        let table = [
            (409, "ResourceConflictException", "An update is in progress for resource", Meaning::Busy),
            (409, "ResourceConflictException", "currently in the following state: Pending", Meaning::Busy),
            (409, "ResourceConflictException", "Function already exist: f", Meaning::Rejected),
            (409, "ConflictException", "", Meaning::Busy),
            (409, "CodeArtifactUserPendingException", "", Meaning::Busy),
            (409, "CodeArtifactUserFailedException", "", Meaning::Rejected),
            (409, "ConditionalRequestConflict", "", Meaning::Precondition),
            (409, "OperationAborted", "", Meaning::Busy),
            (412, "PreconditionFailed", "", Meaning::Precondition),
            (400, "ExpiredToken", "", Meaning::Unauthenticated),
            (403, "ExpiredTokenException", "", Meaning::Unauthenticated),
            (403, "AccessDenied", "", Meaning::Denied),
            (400, "AccessDeniedException", "", Meaning::Denied),
            (400, "CodeStorageExceededException", "", Meaning::Rejected),
            (429, "LimitExceededException", "Maximum number of deployments per REST API", Meaning::Rejected),
            (429, "LimitExceededException", "Maximum number of stages per API", Meaning::Rejected),
            (429, "LimitExceededException", "Rate exceeded", Meaning::Busy),
            (502, "KMSAccessDeniedException", "", Meaning::Rejected),
            (502, "ResourceNotReadyException", "", Meaning::Busy),
            (400, "ThrottlingException", "Rate exceeded", Meaning::Busy),
            (400, "RequestTimeout", "", Meaning::Unknown),
            (301, "PermanentRedirect", "", Meaning::Rejected),
            (301, "", "", Meaning::Rejected),
            (404, "", "", Meaning::NotFound),
            (403, "", "", Meaning::Denied),
            (400, "BadRequestException", "", Meaning::Rejected),
            (500, "ServiceException", "", Meaning::Unknown),
            (503, "SlowDown", "", Meaning::Unknown),
        ];
        for (status, code, message, expected) in table {
            let code = Some(code).filter(|code| !code.is_empty());
            assert_eq!(meaning(Some(status), code, message), expected, "{status} {code:?} {message}");
        }
        assert_eq!(meaning(None, None, ""), Meaning::Unknown);
    }

    #[test]
    fn advice_names_the_remedy() {
        let prune = advice(Some(400), Some("CodeStorageExceededException"), "Code storage limit exceeded.");
        assert!(prune.unwrap().contains("deployctl prune"));
        let prune =
            advice(Some(400), Some("LimitExceededException"), "Maximum number of deployments per REST API");
        assert!(prune.unwrap().contains("deployctl prune"));
        assert!(advice(Some(403), Some("ExpiredTokenException"), "").unwrap().contains("log in again"));
        assert!(
            advice(
                Some(403),
                Some("InvalidSignatureException"),
                "Signature expired: 20220127T001427Z is now earlier than 20220127T014428Z (20220127T015928Z - 15 min.)"
            )
            .unwrap()
            .contains("clock")
        );
        assert!(
            advice(Some(403), Some("InvalidSignatureException"), "").unwrap().contains("secret access key")
        );
        let policy = "is not authorized to perform: apigateway:PATCH with an explicit deny in a service control policy";
        assert!(advice(Some(403), Some("AccessDeniedException"), policy).unwrap().contains("organization"));
        let size = "Update size too large. Try updating stage in multiple UpdateStage operations";
        assert!(advice(Some(400), Some("BadRequestException"), size).unwrap().contains("fewer functions"));
        assert!(advice(Some(301), None, "").unwrap().contains("another region"));
        assert_eq!(advice(Some(403), Some("AccessDenied"), ""), None);
    }

    #[test]
    fn every_permanent_answer_has_advice() {
        for answer in ANSWERS {
            assert_eq!(answer.is_permanent, answer.advice.is_some(), "{:?}", answer.codes);
        }
    }
}
