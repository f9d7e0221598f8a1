//! The six routes.

use std::time::{Duration, Instant};

use crate::document::{JsonBody, stored_user};
use crate::event::Request;
use crate::failure::Failure;
use crate::pagination::{PageRequest, cursor_after};
use crate::response::Response;
use crate::settings::Handler;
use crate::store::{ReplaceOutcome, Store};
use crate::user_id::UserId;
use crate::user_list::UserList;
use shared::log::LogContext;

/// How long a patch is retried while concurrent patches change the same user. One of them succeeds in each round trip.
const PATCH_TIMEOUT: Duration = Duration::from_millis(1500);

/// Runs the route of this function.
pub(crate) async fn serve(
    handler: Handler,
    store: &Store,
    request: &Request,
    log_context: &LogContext,
) -> Result<Response, Failure> {
    match handler {
        Handler::ListUsers => match PageRequest::from_query(&request.query)? {
            None => list_users(store, log_context).await,
            Some(page) => list_page(store, &page, log_context).await,
        },
        Handler::CreateUser => create_user(store, request).await,
        Handler::DeleteUsers => delete_users(store).await,
        Handler::GetUser => get_user(store, request).await,
        Handler::PatchUser => patch_user(store, request).await,
        Handler::DeleteUser => delete_user(store, request).await,
    }
}

/// The whole list, as a JSON array.
async fn list_users(store: &Store, log_context: &LogContext) -> Result<Response, Failure> {
    let ids = store.ids().await?;
    let list = UserList::read(store, &ids, log_context).await?;
    if list.processed < ids.len() {
        let why = "the list of users is larger than the 6 MB that can be sent at once: read it in pages, with ?limit=";
        return Err(Failure::TooLarge(why.to_owned()));
    }
    Ok(Response::json(200, list.into_array()))
}

/// One page: `{"users": […], "cursor": …}`. The cursor of the last page is null. A page has fewer users than its limit if
/// the response would be too large.
async fn list_page(store: &Store, page: &PageRequest, log_context: &LogContext) -> Result<Response, Failure> {
    let ids = store.ids().await?;
    let start = page.after.as_ref().map_or(0, |after| ids.partition_point(|id| id <= after));
    let rest = ids.get(start..).unwrap_or_default();
    let list = UserList::read(store, rest.get(..page.limit).unwrap_or(rest), log_context).await?;
    let cursor = match list.processed.checked_sub(1) {
        None if !rest.is_empty() => return Err(Failure::TooLarge("a user is larger than 6 MB".to_owned())),
        Some(last) if list.processed < rest.len() => rest.get(last).map(|id| cursor_after(id)),
        None | Some(_) => None,
    };
    let cursor = serde_json::to_string(&cursor).map_err(Failure::Internal)?;
    Ok(Response::json(200, format!(r#"{{"users":{},"cursor":{cursor}}}"#, list.into_array())))
}

async fn create_user(store: &Store, request: &Request) -> Result<Response, Failure> {
    let body = request.body()?;
    let id = UserId::new_random();
    let user = JsonBody::parse(&body)?.into_user(&id)?;
    store.create(&id, &user).await?;
    Ok(Response::new(201, user))
}

async fn delete_users(store: &Store) -> Result<Response, Failure> {
    store.delete_all().await?;
    Ok(Response::new(200, "[]".to_owned()))
}

async fn get_user(store: &Store, request: &Request) -> Result<Response, Failure> {
    let id = UserId::from_path(request.user_id.as_deref())?;
    let bytes = store.get(&id).await?.ok_or(Failure::NotFound)?;
    Ok(Response::new(200, stored_user(bytes).ok_or(Failure::Damaged)?))
}

async fn patch_user(store: &Store, request: &Request) -> Result<Response, Failure> {
    let id = UserId::from_path(request.user_id.as_deref())?;
    let body = request.body()?;
    let patch = JsonBody::parse(&body)?;
    patch.check_id(&id)?;
    let started = Instant::now();
    let mut old = store.get(&id).await?.ok_or(Failure::NotFound)?;
    while started.elapsed() < PATCH_TIMEOUT {
        let new = patch.patch(&id, std::str::from_utf8(&old).map_err(|_| Failure::Damaged)?)?;
        match store.replace(&id, &old, &new).await? {
            ReplaceOutcome::Replaced => return Ok(Response::new(200, new)),
            ReplaceOutcome::Changed(now) => old = now,
            ReplaceOutcome::NotFound => return Err(Failure::NotFound),
        }
    }
    Err(Failure::Contended)
}

async fn delete_user(store: &Store, request: &Request) -> Result<Response, Failure> {
    let id = UserId::from_path(request.user_id.as_deref())?;
    let bytes = store.delete(&id).await?.ok_or(Failure::NotFound)?;
    // A damaged user can be deleted, too. The response contains only its id.
    let user = stored_user(bytes).unwrap_or_else(|| serde_json::json!({ "id": id.as_str() }).to_string());
    Ok(Response::new(200, user))
}
