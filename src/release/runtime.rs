//! Whether a function can start the code of an artifact, as far as the names of its files show it.

use crate::artifact::Contents;
use crate::release::state::Start;

/// Why a function cannot start this code; `None` if it can, or if that is not known. A layer of the function
/// may contain what the zip does not.
pub(crate) fn problem(contents: &Contents, start: &Start) -> Option<String> {
    let Contents::Zip(files) = contents else { return None };
    let runtime = start.runtime.as_deref().filter(|_| !start.has_layers)?;
    if runtime.starts_with("provided") {
        let missing = !files.contains("bootstrap");
        return missing.then(|| {
            format!("its runtime {runtime} starts a file `bootstrap`, which the zip does not have")
        });
    }
    let handler = start.handler.as_deref()?;
    let is_there: Box<dyn Fn(&str) -> bool> = if runtime.starts_with("python") {
        let module = python_module(handler)?;
        Box::new(move |file| is_python_module(file, &module))
    } else if runtime.starts_with("nodejs") {
        let module = node_module(handler)?;
        Box::new(move |file| is_node_module(file, &module))
    } else {
        return None;
    };
    let missing = !files.iter().any(|file| is_there(file));
    missing.then(|| format!("its handler {handler} ({runtime}) is in no file of the zip"))
}

/// The path of the module of a handler such as `users/app.handler`, without an extension.
fn python_module(handler: &str) -> Option<String> {
    let (module, _) = handler.rsplit_once('.')?;
    Some(module.replace('.', "/"))
}

fn is_python_module(file: &str, module: &str) -> bool {
    let Some(rest) = file.strip_prefix(module) else { return false };
    let is_source = [".py", ".pyc", "/__init__.py", "/__init__.pyc"].contains(&rest);
    // A module in C has the version of Python in its name.
    is_source || rest.starts_with('.') && rest.ends_with(".so")
}

/// The same for Node, where the module ends at the first point after the folder.
fn node_module(handler: &str) -> Option<String> {
    let handler = handler.trim_start_matches("./");
    let (folder, name) = handler.rsplit_once('/').unwrap_or(("", handler));
    let (name, _) = name.split_once('.')?;
    Some(if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
}

fn is_node_module(file: &str, module: &str) -> bool {
    let file = file.strip_prefix("node_modules/").unwrap_or(file);
    let Some(rest) = file.strip_prefix(module) else { return false };
    let of_folder = ["/index.js", "/index.mjs", "/index.cjs", "/package.json"];
    ["", ".js", ".mjs", ".cjs"].contains(&rest) || of_folder.contains(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(runtime: &str, handler: &str, has_layers: bool, files: &[&str]) -> Option<String> {
        let start = Start {
            runtime: Some(runtime.to_owned()),
            handler: Some(handler.to_owned()),
            has_layers,
            is_image: false,
            memory_mb: None,
        };
        problem(&Contents::Zip(files.iter().map(|file| (*file).to_owned()).collect()), &start)
    }

    #[test]
    fn the_file_of_the_handler_must_be_in_the_zip() {
        for (runtime, handler, file) in [
            ("provided.al2023", "bootstrap", "bootstrap"),
            ("python3.12", "auth.handler", "auth.py"),
            ("python3.12", "users.app.handler", "users/app.py"),
            ("python3.12", "users/app.handler", "users/app/__init__.py"),
            ("python3.12", "auth.handler", "auth.cpython-312-x86_64-linux-gnu.so"),
            ("nodejs20.x", "index.handler", "index.mjs"),
            ("nodejs20.x", "dist/index.api.get", "dist/index.js"),
            ("nodejs20.x", "./src/users.handler", "src/users/index.js"),
            ("nodejs20.x", "lib/a.handler", "node_modules/lib/a.js"),
        ] {
            assert_eq!(of(runtime, handler, false, &["README", file]), None, "{runtime} {handler}");
            let missing = of(runtime, handler, false, &["README", "other.py", "other.js"]);
            assert!(missing.is_some_and(|text| text.contains(runtime)), "{runtime} {handler}");
        }
        // A Rust zip on a Python function, as when one artifact is named for all of them.
        let text = of("python3.12", "auth.handler", false, &["bootstrap"]).unwrap();
        assert_eq!(text, "its handler auth.handler (python3.12) is in no file of the zip");
        let text = of("provided.al2023", "x", false, &["auth.py"]).unwrap();
        assert!(text.contains("starts a file `bootstrap`"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_not_refused() {
        for (runtime, handler) in [("java21", "a.B::c"), ("ruby3.3", "a.b"), ("python3.12", "handler")] {
            assert_eq!(of(runtime, handler, false, &["x"]), None, "{runtime}");
        }
        assert_eq!(of("python3.12", "datadog_lambda.handler.handler", true, &["auth.py"]), None);
        assert_eq!(
            problem(&Contents::Image, &Start { runtime: Some("python3.12".into()), ..Start::default() }),
            None
        );
        assert_eq!(problem(&Contents::Zip(["x".to_owned()].into()), &Start::default()), None);
    }
}
