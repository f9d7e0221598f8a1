//! The six routes. Each reads top to bottom: what is asked, what is stored, what is answered.

use crate::document::{Input, stored_user};
use crate::event::Request;
use crate::failure::Failure;
use crate::log;
use crate::response::Response;
use crate::settings::Handler;
use crate::store::Store;
use crate::user_id::UserId;

/// Enough for this many requests that change one user at the same moment; each round lets at least one through.
const PATCH_ATTEMPTS: usize = 64;

/// Runs the route that this function is.
pub(crate) async fn serve(handler: Handler, store: &Store, request: &Request) -> Result<Response, Failure> {
    match handler {
        Handler::ListUsers => list_users(store).await,
        Handler::CreateUser => create_user(store, request).await,
        Handler::DeleteUsers => delete_users(store).await,
        Handler::GetUser => get_user(store, request).await,
        Handler::PatchUser => patch_user(store, request).await,
        Handler::DeleteUser => delete_user(store, request).await,
    }
}

async fn list_users(store: &Store) -> Result<Response, Failure> {
    let stored = store.list().await?;
    let mut body = String::with_capacity(stored.iter().map(|user| user.len() + 1).sum::<usize>() + 2);
    body.push('[');
    let mut damaged = false;
    for bytes in stored {
        // One damaged user must not take the others with it.
        let Some(user) = stored_user(bytes) else {
            damaged = true;
            continue;
        };
        if body.len() > 1 {
            body.push(',');
        }
        body.push_str(&user);
    }
    body.push(']');
    if damaged {
        log::error("the list leaves out stored users that are not JSON objects", &Failure::Damaged);
    }
    Ok(Response::new(200, body))
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
    for _ in 0..PATCH_ATTEMPTS {
        let old = store.get(&id).await?.ok_or(Failure::NotFound)?;
        let new = patch.patch(&id, std::str::from_utf8(&old).map_err(|_| Failure::Damaged)?)?;
        if store.replace(&id, &old, &new).await? {
            return Ok(Response::new(200, new));
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
