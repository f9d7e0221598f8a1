//! Changes the OpenAPI document of an API: the URIs and the roles of its integrations and authorizers.

use super::uris::{Output, Resolver};
use crate::terraform::source::Found;

pub(crate) fn rewrite(_resolver: Resolver<'_, '_>, _api: &(usize, Found<'_>), _output: &mut Output<'_>) {}
