//! The URI of an integration or an authorizer, and the function that it invokes.

/// The calls of Lambda that invoke a function: with an answer at once, as a stream, or later.
const INVOKE: [&str; 3] = ["invocations", "response-streaming-invocations", "invoke-async"];

/// What a URI calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Function(FunctionUri<'a>),
    /// An AWS service, such as `sqs`.
    Service(&'a str),
    /// It is not an ARN of API Gateway that names a service.
    Unknown,
}

/// A URI that invokes a function:
/// `arn:aws:apigateway:REGION:lambda:path/DATE/functions/FUNCTION/invocations`. The function is an ARN, the
/// end of one, or a name, each with a qualifier or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FunctionUri<'a> {
    /// The URI before the function.
    before: &'a str,
    pub(super) function: FunctionId<'a>,
    action: &'a str,
}

/// A function as a URI writes it. Each part can come from a stage variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FunctionId<'a> {
    /// The text before the name.
    prefix: &'a str,
    pub(super) region: Option<&'a str>,
    pub(super) account: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) qualifier: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(super) fn of(uri: &'a str) -> Self {
        let mut parts = uri.splitn(6, ':');
        let mut next = || parts.next().unwrap_or_default();
        let (arn, _partition, service, _region) = (next(), next(), next(), next());
        let (integrated, path) = (next(), next());
        if (arn, service) != ("arn", "apigateway") || path.is_empty() {
            return Self::Unknown;
        }
        if is_variable(integrated) {
            return Self::Unknown;
        }
        // A service can have a subdomain before it.
        let integrated = integrated.rsplit('.').next().unwrap_or(integrated);
        match FunctionUri::of(uri).filter(|_| integrated == "lambda") {
            Some(call) => Self::Function(call),
            None => Self::Service(integrated),
        }
    }
}

impl<'a> FunctionUri<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        const FUNCTIONS: &str = "/functions/";
        let start = uri.find(FUNCTIONS)? + FUNCTIONS.len();
        let (before, call) = uri.split_at(start);
        let (function, action) = call.split_once('/')?;
        let action = action.split(['?', '/']).next().unwrap_or(action);
        INVOKE.contains(&action).then(|| Self { before, function: FunctionId::of(function), action })
    }

    /// The URI with the stage variable `key` as version, as Terraform writes it.
    pub(super) fn with_variable(&self, key: &str) -> String {
        let FunctionId { prefix, name, .. } = self.function;
        self.with(&format!("{prefix}{name}"), key)
    }

    /// The same for a function that the URI does not name.
    pub(super) fn with_function(&self) -> String {
        self.with("FUNCTION_ARN", "KEY")
    }

    fn with(&self, function: &str, key: &str) -> String {
        let Self { before, action, .. } = self;
        format!("{before}{function}:${{stageVariables.{key}}}/{action}").replace("${", "$${")
    }
}

impl<'a> FunctionId<'a> {
    fn of(text: &'a str) -> Self {
        let parts: Vec<&str> = text.split(':').collect();
        let word = parts.iter().take(3).position(|part| *part == "function");
        // Where the name is, and where the account.
        let (name_at, account_at) = match (parts.as_slice(), word) {
            (["arn", ..], _) => (6, Some(4)),
            ([_, _, ..], Some(word)) => (word + 1, word.checked_sub(1)),
            ([account, _, ..], None) if is_account(account) => (1, Some(0)),
            _ => (0, None),
        };
        let Some(name) = parts.get(name_at) else {
            return Self { prefix: "", region: None, account: None, name: text, qualifier: None };
        };
        let length = parts[..name_at].iter().map(|part| part.len() + 1).sum();
        let (prefix, rest) = text.split_at(length);
        let qualifier = rest[name.len()..].strip_prefix(':').filter(|qualifier| !qualifier.is_empty());
        let part = |at: Option<usize>| at.and_then(|at| parts.get(at).copied());
        Self {
            prefix,
            region: part(account_at.and_then(|at| at.checked_sub(1))),
            account: part(account_at),
            name,
            qualifier,
        }
    }

    /// The function as the URI writes it, without the account if that is the stage's.
    pub(super) fn shown(&self, with_prefix: bool) -> String {
        let Self { prefix, name, qualifier, .. } = self;
        let prefix = if with_prefix { prefix } else { "" };
        let qualifier = qualifier.map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
        format!("{prefix}{name}{qualifier}")
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text contains a stage variable.
pub(super) fn is_variable(text: &str) -> bool {
    text.contains("${")
}
