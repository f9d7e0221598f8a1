//! The coordination bucket of a fleet, by the caller's own credentials.

use crate::aws::http::Trust;
use crate::aws::s3::Bucket;
use crate::aws::{Aws, Target, timeouts};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::release::model::AccountId;

/// The bucket `name` of `account`.
///
/// # Errors
/// `aws.ca_bundle`, `aws.credentials` if the profile does not exist.
pub(crate) async fn coordination_bucket(
    (account, region, name): (&AccountId, &str, &str),
    profile: Option<&str>,
    events: Events,
) -> Result<Bucket> {
    let stage = "fleet".parse().map_err(|_| Error::bug("the name of the fleet's target is invalid"))?;
    let target = Target {
        stage,
        account: account.clone(),
        artifact_bucket_account: account.clone(),
        region: region.to_owned(),
        profile: profile.map(str::to_owned),
        emulator: None,
        pacing: true,
        call_timeout: timeouts::CALL,
        trust: Trust::from_env()?,
    };
    let aws = Aws::connect(target).await.warning(events);
    aws.require_profile()?;
    Ok(aws.bucket(name))
}
