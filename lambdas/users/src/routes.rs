//! The six routes. Each reads top to bottom: what is asked, what is stored, what is answered.

use std::time::{Duration, Instant};

use crate::document::{Input, stored_user};
use crate::event::Request;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::page::{Page, cursor_after};
use crate::response::Response;
use crate::settings::Handler;
use crate::store::{Replaced, Store};
use crate::user_id::UserId;
use shared::log::Scope;

/// How long a patch tries to get in between others of the same user. In each round trip one of them gets in.
const PATCH_PATIENCE: Duration = Duration::from_millis(1500);

/// Runs the route that this function is.
pub(crate) async fn serve(
    handler: Handler,
    store: &Store,
    request: &Request,
    scope: &Scope,
) -> Result<Response, Failure> {
    match handler {
        Handler::ListUsers => match Page::of(&request.query)? {
            None => list_users(store, scope).await,
            Some(page) => list_page(store, &page, scope).await,
        },
        Handler::CreateUser => create_user(store, request).await,
        Handler::DeleteUsers => delete_users(store).await,
        Handler::GetUser => get_user(store, request).await,
        Handler::PatchUser => patch_user(store, request).await,
        Handler::DeleteUser => delete_user(store, request).await,
    }
}

/// The whole list, as the original answers.
async fn list_users(store: &Store, scope: &Scope) -> Result<Response, Failure> {
    let ids = store.ids().await?;
    let list = Listing::read(store, &ids, scope).await?;
    if list.read < ids.len() {
        let why = "the list of users is larger than the 6 MB that can be sent at once: read it in pages, with ?limit=";
        return Err(Failure::TooLarge(why.to_owned()));
    }
    Ok(Response::measured(200, list.into_array()))
}

/// `{"users": […], "cursor": …}`. Without a cursor, it was the last page. A page ends early where Lambda could not carry
/// more, so that any list can be read.
async fn list_page(store: &Store, page: &Page, scope: &Scope) -> Result<Response, Failure> {
    let ids = store.ids().await?;
    let start = page.after.as_ref().map_or(0, |after| ids.partition_point(|id| id <= after));
    let rest = ids.get(start..).unwrap_or_default();
    let list = Listing::read(store, rest.get(..page.limit).unwrap_or(rest), scope).await?;
    let cursor = match list.read.checked_sub(1) {
        None if !rest.is_empty() => return Err(Failure::TooLarge("a user is larger than 6 MB".to_owned())),
        Some(last) if list.read < rest.len() => rest.get(last).map(|id| cursor_after(id)),
        None | Some(_) => None,
    };
    let cursor = serde_json::to_string(&cursor).map_err(Failure::Internal)?;
    Ok(Response::measured(200, format!(r#"{{"users":{},"cursor":{cursor}}}"#, list.into_array())))
}

async fn create_user(store: &Store, request: &Request) -> Result<Response, Failure> {
    let body = request.body()?;
    let id = UserId::new_random();
    let user = Input::parse(&body)?.into_user(&id)?;
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
    let patch = Input::parse(&body)?;
    patch.check_id(&id)?;
    let started = Instant::now();
    let mut old = store.get(&id).await?.ok_or(Failure::NotFound)?;
    while started.elapsed() < PATCH_PATIENCE {
        let new = patch.patch(&id, std::str::from_utf8(&old).map_err(|_| Failure::Damaged)?)?;
        match store.replace(&id, &old, &new).await? {
            Replaced::Done => return Ok(Response::new(200, new)),
            Replaced::Changed(now) => old = now,
            Replaced::Gone => return Err(Failure::NotFound),
        }
    }
    Err(Failure::Contended)
}

async fn delete_user(store: &Store, request: &Request) -> Result<Response, Failure> {
    let id = UserId::from_path(request.user_id.as_deref())?;
    let bytes = store.delete(&id).await?.ok_or(Failure::NotFound)?;
    // Deleting is the way to be rid of a damaged user: it is gone, and its id is all there is to show.
    let user = stored_user(bytes).unwrap_or_else(|| serde_json::json!({ "id": id.as_str() }).to_string());
    Ok(Response::new(200, user))
}
