//! The token of an account: API Gateway accepts one CreateDeployment in 5 s for each account, whichever member
//! makes it. A member takes the token before it takes the lease of its stage, so that nobody waits for it with a
//! stage held. What is not spread by that is repeated by the call itself, as in any other release.

use std::time::Duration;

use serde_json::json;

use super::run::{PREFIX, unusable};
use crate::engine::ports::{Store, Written};
use crate::error::Result;
use crate::platform::unique_id;
use crate::release::model::AccountId;

/// How long a token is taken. S3's clock has whole seconds, so that an age of 6 is at least 5.
const TERM: Duration = Duration::from_secs(6);

/// The pause after another member has taken the token first.
const LOST_RACE: Duration = Duration::from_secs(1);

/// Takes the token of `account`, and waits with `pause` while it is taken. The age is that of the store's clock.
///
/// # Errors
/// `fleet.store`, and those of `pause`.
pub(crate) async fn take<S: Store>(
    store: &S,
    account: &AccountId,
    pause: impl AsyncFn(Duration) -> Result<()>,
) -> Result<()> {
    let key = format!("{PREFIX}tokens/{account}.json");
    let own = json!({ "schema": 1, "nonce": unique_id() }).to_string().into_bytes();
    loop {
        let stored = store.read(&key).await.map_err(unusable)?;
        if stored.as_ref().is_some_and(|stored| stored.body == own) {
            // The answer to the write was lost.
            return Ok(());
        }
        let age = stored.as_ref().map_or(TERM, |stored| stored.age.unwrap_or(TERM));
        if age < TERM {
            pause(TERM - age).await?;
            continue;
        }
        let written = match &stored {
            None => store.create(&key, &own).await,
            Some(stored) => store.replace(&key, &own, &stored.etag).await,
        };
        match written {
            Ok(Written::Done(_)) => return Ok(()),
            Err(failure) if !failure.may_have_happened() => return Err(unusable(failure)),
            Ok(Written::Refused) | Err(_) => pause(LOST_RACE).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::cloud::{Cloud, Fault};

    /// The seconds of the store's clock that a member waits for the token.
    async fn waited(cloud: &Cloud, account: &str) -> u64 {
        let before = cloud.state.lock().unwrap().now;
        let pause = async |time: Duration| {
            cloud.state.lock().unwrap().now += time.as_secs();
            Ok(())
        };
        take(cloud, &account.parse().unwrap(), pause).await.unwrap();
        cloud.state.lock().unwrap().now - before
    }

    #[tokio::test]
    async fn members_of_an_account_begin_one_after_another() {
        let cloud = Cloud::new(&[]);
        assert_eq!(waited(&cloud, "111111111111").await, 0);
        assert_eq!(waited(&cloud, "222222222222").await, 0);
        assert_eq!(waited(&cloud, "111111111111").await, 6);
        cloud.state.lock().unwrap().now += 2;
        assert_eq!(waited(&cloud, "111111111111").await, 4);
        cloud.state.lock().unwrap().now += 60;
        assert_eq!(waited(&cloud, "111111111111").await, 0);
    }

    #[tokio::test]
    async fn a_lost_answer_does_not_take_it_twice() {
        let cloud = Cloud::new(&[]);
        cloud.arm(&[(1, Fault::AnswerLost)]);
        assert!(waited(&cloud, "111111111111").await <= LOST_RACE.as_secs());
        assert_eq!(cloud.calls(), ["GetObject", "PutObject", "GetObject"]);
    }
}
