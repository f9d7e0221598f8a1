//! Checks the account's rates and code storage.

use super::unread::unread;
use crate::aws::inspect::{GatewayAccount, LambdaLimits};
use crate::documents::doctor::{Finding, Severity};
use crate::project::session::Session;

pub(crate) async fn check(session: &Session) -> Vec<Finding> {
    let (lambda, gateway) = futures::join!(session.aws.lambda_limits(), session.aws.gateway_account());
    let mut findings = Vec::new();
    match lambda {
        Ok(limits) => findings.push(storage(&limits)),
        Err(failure) => findings.push(unread("limits-lambda", &failure)),
    }
    match gateway {
        Ok(account) => {
            findings.push(throttle(&account));
            // The local stage writes logs without one.
            findings.extend(session.local.is_none().then(|| logs_role(&account)));
        }
        Err(failure) => findings.push(unread("limits-api_gateway", &failure)),
    }
    findings
}

fn throttle(account: &GatewayAccount) -> Finding {
    const CHECK: &str = "limits-api_gateway";
    match account.throttle {
        Some((rate, burst)) => Finding::ok(
            CHECK,
            format!("the account's throttle is {rate} requests per second, with bursts of {burst}"),
        ),
        None => Finding::ok(CHECK, "the account has no throttle of its own"),
    }
}

/// API Gateway refuses a stage that writes logs if the account has no role for them.
fn logs_role(account: &GatewayAccount) -> Finding {
    const CHECK: &str = "limits-api_gateway-logs";
    match &account.logs_role {
        Some(role) => Finding::ok(CHECK, format!("API Gateway writes logs with the role {role}")),
        None => Finding::new(
            CHECK,
            Severity::Warning,
            "API Gateway has no role in this account and region with which a stage could write logs",
        )
        .remedy("if the stage writes logs, set the role of the account, such as with terraform/account"),
    }
}

fn storage(limits: &LambdaLimits) -> Finding {
    const CHECK: &str = "limits-lambda";
    let LambdaLimits { code_used, code_limit, concurrency } = *limits;
    if code_limit <= 0 {
        return Finding::unchecked(CHECK, "Lambda returned no limit for stored code");
    }
    let percent = code_used.saturating_mul(100) / code_limit;
    let mebibytes = |bytes: i64| bytes / (1024 * 1024);
    let message = format!(
        "{} of {} MiB of code storage are used ({percent} %); the concurrency limit is {concurrency}",
        mebibytes(code_used),
        mebibytes(code_limit)
    );
    let severity = match percent {
        95.. => Severity::Problem,
        80.. => Severity::Warning,
        _ => return Finding::ok(CHECK, message),
    };
    Finding::new(CHECK, severity, message).remedy("delete unused versions, or request a higher quota")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_that_is_almost_full_is_a_finding() {
        let severity =
            |code_used| storage(&LambdaLimits { code_used, code_limit: 1000, concurrency: 10 }).severity;
        assert_eq!([100, 800, 950].map(severity), [Severity::Ok, Severity::Warning, Severity::Problem]);
        assert_eq!(
            storage(&LambdaLimits { code_used: 0, code_limit: 0, concurrency: 0 }).severity,
            Severity::Unchecked
        );
    }
}
