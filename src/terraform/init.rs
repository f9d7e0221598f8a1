//! Runs `init` only if its inputs have changed.
//!
//! The inputs are the lock file, the `terraform` and `module` blocks of the layer and of its local modules,
//! the backend settings, the version of the program, and the CLI configuration. Their hash is stored in the
//! layer's data folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hcl_edit::expr::{BinaryOperator, Expression, Null, ObjectKey, Splat, UnaryOperator};
use hcl_edit::parser::parse_body;
use hcl_edit::structure::{Attribute, Block};
use hcl_edit::visit::{self, Visit};
use hcl_edit::{Decorated, Formatted, Ident, Number, Spanned};
use sha2::{Digest, Sha256};

use super::driver::Driver;
use super::failure::{Failure, Reason};
use super::layers::{Layer, is_configuration};
use super::lock_file;
use super::mirror::Search;
use super::source::literal;
use crate::platform::{atomic_file, hex};

/// The file with the hash, in the layer's data folder.
const MARKER: &str = "deployctl-init";

/// Files in the layer's data folder that Terraform writes in place, and does not start without. Neither
/// contains anything that `init` does not write again: the settings of the backend, and the list of modules.
const WRITTEN_IN_PLACE: [&str; 2] = ["terraform.tfstate", "modules/modules.json"];

/// The delays before `init` is retried after a network error.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Network errors that are worth a retry; from terragrunt's list.
const TRANSIENT: &[&str] = &[
    "TLS handshake timeout",
    "connection reset by peer",
    "Client.Timeout exceeded",
    "i/o timeout",
    "unexpected EOF",
    "429 Too Many Requests",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
];

pub(super) fn is_needed(driver: &Driver, layer: &Layer) -> Result<bool, Failure> {
    layer.check()?;
    let data_dir = driver.prepared_data_dir(layer)?;
    driver.mirrors(layer).use_given()?;
    let unchanged =
        std::fs::read_to_string(data_dir.join(MARKER)).is_ok_and(|hash| hash == fingerprint(driver, layer));
    Ok(!unchanged || damaged_files(&data_dir).next().is_some())
}

/// Runs `init`, and stores the hash of its inputs.
pub(super) async fn run(driver: &Driver, layer: &Layer) -> Result<(), Failure> {
    let data_dir = driver.prepared_data_dir(layer)?;
    // A failed init must not be reused.
    forget(&data_dir);
    remove_damaged(&data_dir)?;
    init(driver, layer).await?;
    // Computed afterwards, because the first init writes the lock file.
    let hash = fingerprint(driver, layer);
    let marker = data_dir.join(MARKER);
    atomic_file::write_private(&marker, hash.as_bytes())
        .map_err(|e| Failure::io(format!("write {}", marker.display()), e))
}

/// Makes the next run start with `init`.
pub(super) fn forget(data_dir: &Path) {
    // The file may be missing. If the folder is not writable, the next write reports it.
    drop(std::fs::remove_file(data_dir.join(MARKER)));
}

/// Removes what an `init` that was killed, or that ran on a full disk, has left half-written.
fn remove_damaged(data_dir: &Path) -> Result<(), Failure> {
    for file in damaged_files(data_dir) {
        std::fs::remove_file(&file).map_err(|e| Failure::io(format!("remove {}", file.display()), e))?;
    }
    Ok(())
}

fn damaged_files(data_dir: &Path) -> impl Iterator<Item = PathBuf> {
    let is_damaged = |file: &PathBuf| {
        std::fs::read(file).is_ok_and(|text| serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err())
    };
    WRITTEN_IN_PLACE.map(|name| data_dir.join(name)).into_iter().filter(is_damaged)
}

async fn init(driver: &Driver, layer: &Layer) -> Result<(), Failure> {
    let mut delays = RETRY_DELAYS.into_iter();
    loop {
        let was_configured = driver.mirrors(layer).configuration().is_some();
        let command = driver.init_command(layer)?;
        let Err(mut failure) = driver.stream(layer, &command, |code| code == 0).await else {
            return Ok(());
        };
        if is_transient(&failure)
            && let Some(delay) = delays.next()
        {
            driver.observer.note(format!("terraform {}: retrying init: {failure}", layer.name));
            tokio::select! {
                () = tokio::time::sleep(delay) => continue,
                () = driver.cancel.cancelled() => return Err(Failure::new(Reason::Interrupted { killed: false })),
            }
        }
        if !matches!(*failure.reason, Reason::RegistryUnreachable { .. }) {
            return Err(failure);
        }
        let required = required_providers(&layer.dir);
        match driver.mirrors(layer).use_found(required, was_configured).await? {
            Search::Configured => {}
            Search::Refused(mirrors) => {
                *failure.reason = Reason::RegistryUnreachable { refused: mirrors };
                return Err(failure);
            }
        }
    }
}

fn is_transient(failure: &Failure) -> bool {
    let text = |d: &super::messages::Diagnostic| format!("{} {}", d.summary, d.detail);
    let texts: Vec<String> = failure.diagnostics.iter().map(text).chain([failure.to_string()]).collect();
    TRANSIENT.iter().any(|error| texts.iter().any(|text| text.contains(error)))
}

/// The hash of all inputs of `init`.
fn fingerprint(driver: &Driver, layer: &Layer) -> String {
    let mut hash = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        // With the lengths, different inputs cannot give the same bytes.
        hash.update(format!("{name} {}\n", bytes.len()));
        hash.update(bytes);
    };
    let program = &driver.terraform;
    add("program", format!("{} {}", program.flavour, program.version).as_bytes());
    for config in driver.backend.for_layer(&layer.name) {
        add("backend", config.as_bytes());
        if !config.contains('=') {
            add("backend file", &std::fs::read(layer.dir.join(config)).unwrap_or_default());
        }
    }
    if let Some(file) = driver.mirrors(layer).configuration() {
        add("cli configuration", &std::fs::read(file).unwrap_or_default());
    }
    add("lock file", &std::fs::read(layer.dir.join(lock_file::FILE)).unwrap_or_default());
    for (path, text) in configuration(&layer.dir) {
        add(&path.to_string_lossy(), relevant(&path, &text).as_bytes());
    }
    hex(hash.finalize())
}

/// The folders of the local modules that a root module uses, and its own.
pub(crate) fn folders(root: &Path) -> BTreeSet<PathBuf> {
    configuration(root).into_iter().filter_map(|(file, _)| Some(file.parent()?.to_owned())).collect()
}

/// The configuration files of a module and of the local modules that it uses.
pub(super) fn configuration(root: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut visited = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let folder = folder.canonicalize().unwrap_or(folder);
        if !visited.insert(folder.clone()) {
            continue;
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.file_name().is_some_and(|name| is_configuration(&name.to_string_lossy())));
        paths.sort();
        for path in paths {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
            folders.extend(local_modules(&text).into_iter().map(|source| folder.join(source)));
            files.push((path, text));
        }
    }
    files
}

/// The part of a file that `init` depends on: the `terraform` and `module` blocks, without comments and
/// layout. The whole file if it cannot be parsed: an `init` too many does no harm.
fn relevant(path: &Path, text: &str) -> String {
    let is_hcl = path.extension().is_some_and(|ending| ending == "tf" || ending == "tofu");
    match parse_body(text) {
        Ok(body) if is_hcl => {
            let mut tokens = Tokens(String::new());
            for block in body.blocks().filter(|b| matches!(b.ident.as_str(), "terraform" | "module")) {
                tokens.visit_block(block);
            }
            tokens.0
        }
        _ => text.to_owned(),
    }
}

/// The tokens of a block, one per line; independent of comments and layout.
struct Tokens(String);

impl Tokens {
    fn add(&mut self, token: impl std::fmt::Debug) {
        self.0.push_str(&format!("{token:?}\n"));
    }

    fn nested(&mut self, visit: impl FnOnce(&mut Self)) {
        self.0.push_str("(\n");
        visit(self);
        self.0.push_str(")\n");
    }
}

impl Visit for Tokens {
    fn visit_ident(&mut self, node: &Decorated<Ident>) {
        self.add(node.as_str());
    }

    fn visit_null(&mut self, _node: &Decorated<Null>) {
        self.0.push_str("null\n");
    }

    fn visit_bool(&mut self, node: &Decorated<bool>) {
        self.add(node.as_ref());
    }

    fn visit_u64(&mut self, node: &Decorated<u64>) {
        self.add(node.as_ref());
    }

    fn visit_number(&mut self, node: &Formatted<Number>) {
        self.add(node.as_ref());
    }

    fn visit_string(&mut self, node: &Decorated<String>) {
        self.add(node.as_str());
    }

    fn visit_splat(&mut self, _node: &Decorated<Splat>) {
        self.0.push_str("*\n");
    }

    fn visit_literal(&mut self, node: &Spanned<String>) {
        self.add(node.as_str());
    }

    fn visit_unary_operator(&mut self, node: &Spanned<UnaryOperator>) {
        self.add(node.as_ref());
    }

    fn visit_binary_operator(&mut self, node: &Decorated<BinaryOperator>) {
        self.add(node.as_ref());
    }

    fn visit_block(&mut self, node: &Block) {
        self.nested(|tokens| visit::visit_block(tokens, node));
    }

    fn visit_attr(&mut self, node: &Attribute) {
        self.nested(|tokens| visit::visit_attr(tokens, node));
    }

    fn visit_expr(&mut self, node: &Expression) {
        self.nested(|tokens| visit::visit_expr(tokens, node));
    }
}

/// The folders of local modules, relative to the calling module.
fn local_modules(text: &str) -> Vec<String> {
    let Ok(body) = parse_body(text) else { return Vec::new() };
    let modules = body.blocks().filter(|block| block.ident.as_str() == "module");
    let source = |module: &Block| {
        let source = module.body.attributes().find(|attribute| attribute.key.as_str() == "source")?;
        literal(&source.value).filter(|source| source.starts_with('.')).map(str::to_owned)
    };
    modules.filter_map(source).collect()
}

/// The providers of a layer that come from the public registry, as `namespace/type`.
fn required_providers(root: &Path) -> BTreeSet<String> {
    let mut providers = BTreeSet::new();
    for (_, text) in configuration(root) {
        let Ok(body) = parse_body(&text) else { continue };
        let terraform = body.blocks().filter(|block| block.ident.as_str() == "terraform");
        let required = terraform.flat_map(|block| block.body.blocks());
        for block in required.filter(|block| block.ident.as_str() == "required_providers") {
            providers.extend(block.body.attributes().filter_map(provider_source));
        }
    }
    providers
}

fn provider_source(attribute: &Attribute) -> Option<String> {
    let name = attribute.key.as_str();
    let Expression::Object(object) = &attribute.value else { return Some(format!("hashicorp/{name}")) };
    let source = object.iter().find_map(|(key, value)| match key {
        ObjectKey::Ident(key) if key.as_str() == "source" => literal(value.expr()),
        _ => None,
    });
    let source = source.map_or_else(|| format!("hashicorp/{name}"), str::to_owned);
    match source.split('/').count() {
        2 => Some(source),
        3 => source.strip_prefix("registry.terraform.io/").map(str::to_owned),
        _ => None,
    }
}
