//! The projects, and how their teams deploy them.

use super::clients::Request;

/// A project of `tests/fixtures/corpus`.
#[derive(Debug)]
pub(super) struct Case {
    /// The folder.
    pub(super) name: &'static str,
    /// The sources with a constant `EDITION`, which is `one`, and later `two`.
    pub(super) sources: &'static [&'static str],
    /// What Terraform has deployed, in this order.
    pub(super) roots: &'static [Root],
    /// The name of the REST API that is adopted.
    pub(super) api: &'static str,
    /// The API Gateway stage.
    pub(super) api_stage: &'static str,
    pub(super) requests: &'static [Request],
    /// The stage of deployctl that is adopted.
    pub(super) stage: &'static str,
    /// The stages of `deployctl.toml` beside it, which are planned only.
    pub(super) other_stages: &'static [&'static str],
    /// What is left to do after the patch.
    pub(super) by_hand: &'static [Step],
}

/// A run of `terraform init` and `terraform apply`.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: &'static str,
    pub(super) init: &'static [&'static str],
    pub(super) workspace: Option<&'static str>,
    pub(super) apply: &'static [&'static str],
}

/// Something that `init` says is to be done by hand, beside the account and the artifact bucket.
#[derive(Debug)]
pub(super) struct Step {
    /// A piece of what `init` says.
    pub(super) says: &'static str,
    /// Files, and what to replace in them.
    pub(super) edits: &'static [(&'static str, &'static str, &'static str)],
}

const fn root(path: &'static str) -> Root {
    Root { path, init: &[], workspace: None, apply: &[] }
}

const fn workspace(path: &'static str, name: &'static str) -> Root {
    Root { path, init: &[], workspace: Some(name), apply: &[] }
}

impl Case {
    pub(super) fn named(name: &str) -> &'static Self {
        CORPUS.iter().find(|case| case.name == name).unwrap()
    }
}

pub(super) const CORPUS: &[Case] = &[
    Case {
        name: "one-root",
        sources: &["src/tides.py"],
        roots: &[root("infra")],
        api: "tides",
        api_stage: "prod",
        requests: &[("GET", "/tides", 200), ("GET", "/tides/monday", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "environments",
        sources: &["functions/parcels/index.js"],
        roots: &[root("environments/dev"), root("environments/prod")],
        api: "parcels-dev",
        api_stage: "dev",
        requests: &[("GET", "/parcels", 200), ("POST", "/parcels", 201)],
        stage: "dev",
        other_stages: &["prod"],
        by_hand: &[],
    },
    Case {
        name: "nested-modules",
        sources: &["lambda/rooms.py"],
        roots: &[root("terraform")],
        api: "rooms-dev",
        api_stage: "dev",
        requests: &[("GET", "/rooms", 200), ("GET", "/rooms/free", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "modules-beside",
        sources: &["src/stations/index.js", "src/bikes/index.js"],
        roots: &[root("infra")],
        api: "bikes",
        api_stage: "live",
        requests: &[("GET", "/stations", 200), ("GET", "/bikes", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "workspaces",
        sources: &["lambda/ferries.js"],
        roots: &[workspace("terraform", "prod"), workspace("terraform", "dev")],
        api: "ferries-dev",
        api_stage: "dev",
        requests: &[("GET", "/ferries/next", 200), ("POST", "/tickets", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "partial-backend",
        sources: &["src/plants.py"],
        roots: &[Root {
            path: "terraform",
            init: &["-backend-config=config/dev.s3.tfbackend"],
            workspace: None,
            apply: &["-var-file=config/dev.tfvars"],
        }],
        api: "plants-dev",
        api_stage: "dev",
        requests: &[("GET", "/plants", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "alias",
        sources: &["src/forecasts.py"],
        roots: &[root("infra")],
        api: "forecasts",
        api_stage: "prod",
        requests: &[("GET", "/forecast", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "stage-by-deployment",
        sources: &["src/index.js"],
        roots: &[root(".")],
        api: "invoices",
        api_stage: "test",
        requests: &[("GET", "/invoices", 200), ("POST", "/invoices/7/paid", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "rust-below",
        sources: &["lambda/gauges/src/main.rs"],
        roots: &[root("terraform")],
        api: "gauges",
        api_stage: "prod",
        requests: &[("GET", "/gauges", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "several-roots",
        sources: &["code/search.py"],
        roots: &[root("infrastructure/storage"), root("infrastructure/service")],
        api: "catalogue",
        api_stage: "prod",
        requests: &[("GET", "/books", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
    Case {
        name: "image",
        sources: &[],
        roots: &[root("infra")],
        api: "scans",
        api_stage: "prod",
        requests: &[],
        stage: "dev",
        other_stages: &[],
        by_hand: &[Step {
            says: "is a container image",
            edits: &[(
                "deployctl.toml",
                "0000000000000000000000000000000000000000000000000000000000000000",
                "1111111111111111111111111111111111111111111111111111111111111111",
            )],
        }],
    },
    Case {
        name: "openapi",
        sources: &["app/quotes.py"],
        roots: &[root("terraform")],
        api: "quotes",
        api_stage: "v1",
        requests: &[("GET", "/quotes", 200), ("GET", "/quotes/lessing", 200)],
        stage: "dev",
        other_stages: &[],
        by_hand: &[],
    },
];
