//! What a request of AWS needs to be allowed: the actions of IAM and the resources that they are about, as AWS's service
//! authorization reference has them. A request that is not understood fails the test.

use std::collections::BTreeMap;

use serde_json::Value;

use super::recorder::Request;
use crate::support::http::header;

/// The account of the local stage.
pub(crate) const ACCOUNT: &str = "000000000000";
/// Its region.
pub(crate) const REGION: &str = "us-east-1";

/// Something that must be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// The action, such as `lambda:PublishVersion`.
    pub(crate) action: String,
    /// The ARN; `*` where AWS knows none for the action.
    pub(crate) resource: String,
    /// What conditions ask for: the service that a role is passed to, the policy that is attached.
    pub(crate) context: BTreeMap<&'static str, String>,
}

impl Need {
    /// An action on a resource.
    pub(crate) fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: BTreeMap::new() }
    }
}

/// The needs of a request.
pub(crate) fn needs(request: &Request) -> Vec<Need> {
    let Some(scope) = header(&request.head, "authorization").and_then(|text| text.split('/').nth(3)) else {
        // The emulator's own pages, and what callers of the API ask.
        return Vec::new();
    };
    let mut words = request.head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decoded(path);
    let call = Call { method, path: &path, query: pairs(query), request };
    let mut needs = match scope {
        "s3" => call.s3(),
        "lambda" => call.lambda(),
        "apigateway" => call.gateway(),
        "logs" => call.logs(),
        "sts" => Vec::new(), // GetCallerIdentity needs no permission
        "monitoring" => call.alarm(),
        "acm" | "cognito-idp" | "secretsmanager" => call.json(scope),
        "route53" => call.zone(),
        "iam" | "ec2" | "elasticache" => call.query(scope),
        other => panic!("the service {other} is not known: {request:?}"),
    };
    // A role that a service is to take on.
    let service = match scope {
        "lambda" => Some("lambda.amazonaws.com"),
        "apigateway" => Some("apigateway.amazonaws.com"),
        _ => None,
    };
    if let Some(service) = service.filter(|_| method != "GET") {
        for role in roles(&request.body) {
            let context = BTreeMap::from([("iam:PassedToService", service.to_owned())]);
            needs.push(Need { context, ..Need::new("iam:PassRole", role) });
        }
    }
    needs
}

/// The SDK's name of a request, for those that deployctl makes.
pub(crate) fn operation(request: &Request) -> Option<String> {
    let scope = header(&request.head, "authorization")?.split('/').nth(3)?;
    let mut words = request.head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let name = match (scope, method, parts.as_slice()) {
        ("sts", ..) => "GetCallerIdentity",
        ("s3", "GET", [_]) if query.starts_with("versioning") => "GetBucketVersioning",
        ("s3", "GET", [_]) if query.contains("list-type=2") => "ListObjectsV2",
        ("s3", "PUT", [_, _, ..]) if header(&request.head, "x-amz-copy-source").is_some() => "CopyObject",
        ("s3", "PUT", [_, _, ..]) => "PutObject",
        ("s3", "GET", [_, _, ..]) => "GetObject",
        ("s3", "HEAD", [_, _, ..]) => "HeadObject",
        ("apigateway", "GET", ["restapis", _]) => "GetRestApi",
        ("apigateway", "GET", ["restapis", _, "resources"]) => "GetResources",
        ("apigateway", "GET", ["restapis", _, "authorizers"]) => "GetAuthorizers",
        ("apigateway", "GET", ["restapis", _, "requestvalidators"]) => "GetRequestValidators",
        ("apigateway", "GET", ["restapis", _, "models"]) => "GetModels",
        ("apigateway", "GET", ["restapis", _, "gatewayresponses"]) => "GetGatewayResponses",
        ("apigateway", "GET", ["restapis", _, "deployments"]) => "GetDeployments",
        ("apigateway", "GET", ["restapis", _, "deployments", _]) => "GetDeployment",
        ("apigateway", "POST", ["restapis", _, "deployments"]) => "CreateDeployment",
        ("apigateway", "GET", ["restapis", _, "stages"]) => "GetStages",
        ("apigateway", "POST", ["restapis", _, "stages"]) => "CreateStage",
        ("apigateway", "DELETE", ["restapis", _, "stages", _]) => "DeleteStage",
        ("apigateway", "DELETE", ["restapis", _, "deployments", _]) => "DeleteDeployment",
        ("apigateway", "GET", ["restapis", _, "stages", _]) => "GetStage",
        ("apigateway", "GET", ["restapis", _, "stages", _, "exports", _]) => "GetExport",
        ("apigateway", "PATCH", ["restapis", _, "stages", _]) => "UpdateStage",
        ("apigateway", "DELETE", ["restapis", _, "stages", _, "cache", "authorizers"]) => {
            "FlushStageAuthorizersCache"
        }
        ("lambda", ..) => return needs(request)[0].action.strip_prefix("lambda:").map(str::to_owned),
        _ => return None,
    };
    Some(name.to_owned())
}

struct Call<'a> {
    method: &'a str,
    path: &'a str,
    query: BTreeMap<String, String>,
    request: &'a Request,
}

impl Call<'_> {
    fn gateway(&self) -> Vec<Need> {
        let need = |method: &str, path: &str| {
            Need::new(format!("apigateway:{method}"), format!("arn:aws:apigateway:{REGION}::{path}"))
        };
        let mut needs = vec![need(self.method, self.path)];
        let body: Value = serde_json::from_str(&self.request.body).unwrap_or_default();
        let creates = |what: &str| self.method == "POST" && self.path.ends_with(what);
        if creates("/deployments")
            && let Some(stage) = body["stageName"].as_str()
        {
            needs[0].context.insert("apigateway:Request/StageName", stage.to_owned());
        }
        // What is created with tags is also tagged.
        if creates("/stages") && body["tags"].is_object() {
            needs.push(need("PUT", "/tags/*"));
        }
        needs
    }

    fn unknown(&self) -> ! {
        panic!("what this needs is not known: {} {} {:?}", self.method, self.path, self.query)
    }

    fn s3(&self) -> Vec<Need> {
        let (bucket, key) = self
            .path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or((self.path.trim_start_matches('/'), ""));
        let arn = if key.is_empty() {
            format!("arn:aws:s3:::{bucket}")
        } else {
            format!("arn:aws:s3:::{bucket}/{key}")
        };
        let versioned = if self.query.contains_key("versionId") { "Version" } else { "" };
        if !key.is_empty() {
            let mut needs = match self.method {
                "GET" | "HEAD" => vec![Need::new(format!("s3:GetObject{versioned}"), arn)],
                "PUT" => vec![Need::new("s3:PutObject", arn)],
                "DELETE" => vec![Need::new(format!("s3:DeleteObject{versioned}"), arn)],
                _ => self.unknown(),
            };
            if let Some(source) = header(&self.request.head, "x-amz-copy-source") {
                let (source, version) =
                    source.split_once('?').map_or((source, ""), |(source, _)| (source, "Version"));
                let source = decoded(source.trim_start_matches('/'));
                needs.push(Need::new(format!("s3:GetObject{version}"), format!("arn:aws:s3:::{source}")));
            }
            return needs;
        }
        const SUB: [(&str, &str); 15] = [
            ("versioning", "BucketVersioning"),
            ("encryption", "EncryptionConfiguration"),
            ("publicAccessBlock", "BucketPublicAccessBlock"),
            ("policy", "BucketPolicy"),
            ("ownershipControls", "BucketOwnershipControls"),
            ("acl", "BucketAcl"),
            ("cors", "BucketCORS"),
            ("website", "BucketWebsite"),
            ("accelerate", "AccelerateConfiguration"),
            ("requestPayment", "BucketRequestPayment"),
            ("logging", "BucketLogging"),
            ("lifecycle", "LifecycleConfiguration"),
            ("replication", "ReplicationConfiguration"),
            ("object-lock", "BucketObjectLockConfiguration"),
            ("tagging", "BucketTagging"),
        ];
        let sub = SUB.iter().find(|(name, _)| self.query.contains_key(*name)).map(|(_, sub)| *sub);
        let action = match (self.method, sub) {
            ("DELETE", Some("BucketPolicy")) => "DeleteBucketPolicy".to_owned(),
            // AWS asks for the right to put where the call deletes.
            ("PUT" | "DELETE", Some(sub)) => format!("Put{sub}"),
            ("GET", Some(sub)) => format!("Get{sub}"),
            ("POST", None) if self.query.contains_key("delete") => {
                let objects = self.request.body.split("<Object>").skip(1);
                let key =
                    |object: &str| Some(object.split_once("<Key>")?.1.split_once("</Key>")?.0.to_owned());
                let need = |object: &str| {
                    let version = if object.contains("<VersionId>") { "Version" } else { "" };
                    Need::new(format!("s3:DeleteObject{version}"), format!("{arn}/{}", key(object).unwrap()))
                };
                return objects.map(need).collect();
            }
            ("GET", None) if self.query.contains_key("versions") => "ListBucketVersions".to_owned(),
            ("GET", None) if self.query.contains_key("location") => "GetBucketLocation".to_owned(),
            ("GET" | "HEAD", None) => "ListBucket".to_owned(),
            ("PUT", None) => "CreateBucket".to_owned(),
            ("DELETE", None) => "DeleteBucket".to_owned(),
            _ => self.unknown(),
        };
        vec![Need::new(format!("s3:{action}"), arn)]
    }

    fn lambda(&self) -> Vec<Need> {
        let parts: Vec<&str> = self.path.trim_matches('/').split('/').collect();
        if parts.get(1) == Some(&"tags") {
            let action = match self.method {
                "GET" => "ListTags",
                "POST" => "TagResource",
                _ => "UntagResource",
            };
            return vec![Need::new(format!("lambda:{action}"), parts[2..].join("/"))];
        }
        if self.method == "GET" && parts.len() == 2 {
            return vec![Need::new("lambda:ListFunctions".to_owned(), "*".to_owned())];
        }
        let body: Value = serde_json::from_str(&self.request.body).unwrap_or_default();
        let name = parts.get(2).copied().or_else(|| body["FunctionName"].as_str()).unwrap_or("*");
        // A version is a resource of its own to those who invoke it; to all others the function is meant.
        let name = name.strip_prefix(&format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:")).unwrap_or(name);
        let qualifier =
            self.query.get("Qualifier").map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        let action = match (self.method, parts.get(3).copied()) {
            ("POST", None) => "CreateFunction",
            ("GET", None) => "GetFunction",
            ("DELETE", None) => "DeleteFunction",
            ("GET", Some("configuration")) => "GetFunctionConfiguration",
            ("PUT", Some("configuration")) => "UpdateFunctionConfiguration",
            ("PUT", Some("code")) => "UpdateFunctionCode",
            ("POST", Some("versions")) => "PublishVersion",
            ("GET", Some("versions")) => "ListVersionsByFunction",
            ("POST", Some("invocations")) => "InvokeFunction",
            ("GET", Some("policy")) => "GetPolicy",
            ("POST", Some("policy")) => "AddPermission",
            ("POST", Some("aliases")) => "CreateAlias",
            ("DELETE", Some("aliases")) => "DeleteAlias",
            ("GET", Some("code-signing-config")) => "GetFunctionCodeSigningConfig",
            ("GET", Some("concurrency")) => "GetFunctionConcurrency",
            _ => self.unknown(),
        };
        let qualifier = if action == "InvokeFunction" { qualifier } else { String::new() };
        let mut needs = vec![Need::new(
            format!("lambda:{action}"),
            format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}{qualifier}"),
        )];
        // Lambda reads the zip with the rights of who asks it to.
        let code = if body["Code"].is_object() { &body["Code"] } else { &body };
        if let (Some(bucket), Some(key)) = (code["S3Bucket"].as_str(), code["S3Key"].as_str()) {
            let version = if code["S3ObjectVersion"].is_string() { "Version" } else { "" };
            needs.push(Need::new(format!("s3:GetObject{version}"), format!("arn:aws:s3:::{bucket}/{key}")));
        }
        if body["Tags"].as_object().is_some_and(|tags| !tags.is_empty()) {
            needs.push(Need::new("lambda:TagResource", needs[0].resource.clone()));
        }
        needs
    }

    fn logs(&self) -> Vec<Need> {
        let target = header(&self.request.head, "x-amz-target").unwrap();
        let action = target.rsplit('.').next().unwrap();
        let body: Value = serde_json::from_str(&self.request.body).unwrap();
        let group = |name: &str| format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*");
        let resource = match (body["logGroupName"].as_str(), body["resourceArn"].as_str()) {
            (Some(name), _) => group(name),
            (None, Some(arn)) => format!("{}:*", arn.trim_end_matches(":*")),
            // Lists are of the whole account.
            (None, None) => format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group::log-stream:"),
        };
        let mut needs = vec![Need::new(format!("logs:{action}"), resource.clone())];
        if body["tags"].as_object().is_some_and(|tags| !tags.is_empty()) && action == "CreateLogGroup" {
            needs.push(Need::new("logs:TagResource", resource));
        }
        needs
    }

    /// Services whose body names the thing.
    fn json(&self, service: &str) -> Vec<Need> {
        let target = header(&self.request.head, "x-amz-target").unwrap();
        let action = target.rsplit('.').next().unwrap();
        let body: Value = serde_json::from_str(&self.request.body).unwrap();
        let named =
            ["CertificateArn", "SecretId", "ResourceArn"].into_iter().find_map(|name| body[name].as_str());
        let pool = body["UserPoolId"].as_str();
        let pool = pool.map(|id| format!("arn:aws:cognito-idp:{REGION}:{ACCOUNT}:userpool/{id}"));
        let resource = named.map(str::to_owned).or(pool).unwrap_or_else(|| "*".to_owned());
        vec![Need::new(format!("{service}:{action}"), resource)]
    }

    fn zone(&self) -> Vec<Need> {
        let parts: Vec<&str> = self.path.trim_matches('/').split('/').collect();
        let (action, id) = match (self.method, &parts[1..]) {
            ("GET", ["hostedzone", id]) => ("GetHostedZone", *id),
            ("GET", ["hostedzone", id, "rrset"]) => ("ListResourceRecordSets", *id),
            ("POST", ["hostedzone", id, "rrset"]) => ("ChangeResourceRecordSets", *id),
            ("GET", ["change", id]) => ("GetChange", *id),
            _ => self.unknown(),
        };
        let kind = if action == "GetChange" { "change" } else { "hostedzone" };
        vec![Need::new(format!("route53:{action}"), format!("arn:aws:route53:::{kind}/{id}"))]
    }

    fn alarm(&self) -> Vec<Need> {
        // The form of the query, or that of newer SDKs, whose body is binary: the name stands in it as it is.
        let form = pairs(&self.request.body);
        let action = self
            .path
            .rsplit_once("/operation/")
            .map_or_else(|| form["Action"].clone(), |(_, name)| name.to_owned());
        let names = form.iter().filter(|(key, _)| key.starts_with("AlarmName")).map(|(_, name)| name.clone());
        let arns = form.get("ResourceARN").cloned();
        let alarm = |name| format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}");
        let resource = arns.or_else(|| names.map(alarm).next()).unwrap_or_else(|| "*".to_owned());
        vec![Need::new(format!("cloudwatch:{action}"), resource)]
    }

    fn query(&self, service: &str) -> Vec<Need> {
        let form = pairs(&self.request.body);
        let action = format!("{service}:{}", form["Action"]);
        let resource = match (service, form.get("RoleName")) {
            ("iam", Some(role)) => format!("arn:aws:iam::{ACCOUNT}:role/{role}"),
            ("elasticache", _) => cache(&form),
            // Which calls of EC2 know which resource is a book of its own: all are allowed for all, in one region.
            ("ec2", _) => "*".to_owned(),
            _ => self.unknown(),
        };
        let policy = form.get("PolicyArn").map(|arn| ("iam:PolicyARN", arn.clone()));
        vec![Need { context: policy.into_iter().collect(), ..Need::new(action, resource) }]
    }
}

fn cache(form: &BTreeMap<String, String>) -> String {
    let arn = |kind: &str, name: &str| format!("arn:aws:elasticache:{REGION}:{ACCOUNT}:{kind}:{name}");
    if let Some(arn) = form.get("ResourceName") {
        return arn.clone();
    }
    for (key, kind) in [
        ("ReplicationGroupId", "replicationgroup"),
        ("CacheSubnetGroupName", "subnetgroup"),
        ("CacheClusterId", "cluster"),
    ] {
        if let Some(name) = form.get(key) {
            return arn(kind, name);
        }
    }
    "*".to_owned()
}

/// The ARNs of roles in a body.
fn roles(body: &str) -> Vec<String> {
    let starts = body.match_indices("arn:aws:iam::").map(|(start, _)| &body[start..]);
    let arns = starts.map(|rest| rest.split(['"', '<', '&', '\\']).next().unwrap().to_owned());
    arns.filter(|arn| arn.contains(":role/")).collect()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect()
}

/// Text without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
