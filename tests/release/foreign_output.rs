//! What others say must not act on whoever reads it, nor fill the memory. A program in the place of Terraform
//! prints what the real one cannot be made to print.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pulldown_cmark::{Event, Parser, Tag};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::http;
use crate::support::minimal_project::MinimalProject;
use crate::support::program::Program;

/// The most memory that deployctl may use.
const MEMORY: u64 = 150 * 1024;

/// An AWS with an account and nothing in it.
async fn empty_aws() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            drop(tokio::spawn(async move {
                let mut bytes = Vec::new();
                while client.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let (status, body) = if text.contains("GetCallerIdentity") {
                        ("200 OK", http::IDENTITY)
                    } else if text.contains("Action=") || !text.contains("\r\n\r\n") {
                        continue;
                    } else if text.starts_with("POST") {
                        // Its body has not arrived yet.
                        continue;
                    } else {
                        ("404 Not Found", "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
                    };
                    client.write_all(http::xml(status, body).as_bytes()).await.unwrap();
                    bytes.clear();
                }
            }));
        }
    }));
    port
}

/// deployctl with the program in the place of Terraform.
pub(crate) async fn program(project: &MinimalProject, mode: &str) -> Program {
    let terraform = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/release/foreign_output/terraform.py");
    project
        .program
        .clone()
        .with("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", empty_aws().await))
        .with("AWS_ACCESS_KEY_ID", "111111111111")
        .with("AWS_SECRET_ACCESS_KEY", "x")
        .with("DEPLOYCTL_STAGE", "dev")
        .with("DEPLOYCTL_TERRAFORM", terraform)
        .with("FAKE_TERRAFORM", mode)
}

/// The exit code of a command, its output, and the most memory that it had, in KiB.
async fn measured(program: &Program, args: &[&str]) -> (Option<i32>, Vec<u8>, Vec<u8>, u64) {
    let child = program.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let peak = tokio::spawn(async move {
        let mut peak = 0;
        while let Ok(text) = tokio::fs::read_to_string(&status).await {
            let Some((_, rest)) = text.split_once("VmHWM:") else { break };
            peak = rest.split_whitespace().next().unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        peak
    });
    let output = child.wait_with_output().await.unwrap();
    (output.status.code(), output.stdout, output.stderr, peak.await.unwrap())
}

/// The characters that a terminal would obey or that hide others, but for styles and GitLab's own sections.
fn obeyed(text: &str) -> Vec<String> {
    let mut rest = text.to_owned();
    for style in ["0", "1", "2", "3", "4", "31", "32", "33", "34", "35", "36"] {
        rest = rest.replace(&format!("\x1b[{style}m"), "");
    }
    let is_ours = |line: &str| line.starts_with("\x1b[0Ksection_") && line.contains(":deployctl_");
    let lines = rest
        .split('\n')
        .map(|line| if is_ours(line) { line.replace(['\x1b', '\r'], "") } else { line.to_owned() });
    let hidden = "\u{202e}\u{2066}\u{2069}\u{2028}\u{e0041}";
    lines.filter(|line| line.chars().any(|c| c != '\t' && (c.is_control() || hidden.contains(c)))).collect()
}

/// The lines that GitHub's runner would execute, but for deployctl's own.
fn executed(text: &str) -> Vec<&str> {
    let own = ["::group::", "::endgroup::", "::warning title=", "::error title="];
    let is_command = |line: &&str| line.contains("##[") || line.trim_start().starts_with("::");
    let lines = text.split(['\r', '\n']).filter(is_command);
    lines.filter(|line| line.contains("##[") || !own.iter().any(|own| line.starts_with(own))).collect()
}

/// The elements, links and headings of Markdown that others wrote.
fn markup(text: &str) -> Vec<String> {
    let foreign = |event: Event<'_>| match event {
        Event::Html(html) | Event::InlineHtml(html) => {
            let own = ["<details>", "</details>", "<summary>", "</summary>"];
            (!own.iter().any(|own| html.trim().starts_with(own))).then(|| html.to_string())
        }
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            dest_url.contains("evil").then(|| dest_url.to_string())
        }
        Event::Start(Tag::Heading { level, .. }) => (level as u8 == 1).then(|| "a heading".to_owned()),
        _ => None,
    };
    Parser::new(text).filter_map(foreign).collect()
}

#[tokio::test]
async fn no_writer_passes_on_what_acts_on_its_reader() {
    let project = MinimalProject::new();
    let file = |name: &str| project.path().join(name);
    for mode in ["warn", "fail"] {
        let plain = program(&project, mode).await;
        let coloured = plain.clone().with("CLICOLOR_FORCE", "1");
        let coloured = coloured.with("NO_COLOR", "");
        let gitlab = plain.clone().with("GITLAB_CI", "true");
        let github = plain.clone().with("GITHUB_ACTIONS", "true");
        let github =
            github.with("GITHUB_STEP_SUMMARY", file("summary")).with("GITHUB_OUTPUT", file("output"));
        let code = if mode == "warn" { 0 } else { 20 };
        for (writer, program) in
            [("plain", &plain), ("coloured", &coloured), ("gitlab", &gitlab), ("github", &github)]
        {
            let commands = [
                &["plan", "--timings=timings.html"][..],
                &["plan", "--progress", "json", "--output", "json"],
                &["plan", "--progress", "plain", "--verbose", "--markdown"],
            ];
            for args in commands {
                let ended = program.run(args).await.exit(code);
                let context = format!("{writer} {args:?}");
                let all = format!("{}\n{}", ended.stdout, ended.stderr);
                assert!(all.contains("onerror=alert"), "{context}: the text is not shown at all:\n{all}");
                assert_eq!(obeyed(&all), [""; 0], "{context}");
                if writer == "github" {
                    assert_eq!(executed(&all), [""; 0], "{context}");
                }
                if args.contains(&"--markdown") && code == 0 {
                    assert_eq!(markup(&ended.stdout), [""; 0], "{context}:\n{}", ended.stdout);
                }
                if args.contains(&"--output") {
                    assert!(ended.json().to_string().contains("::add-mask::"), "a value has changed");
                }
            }
        }
        let read = |path| std::fs::read_to_string(path).unwrap();
        if mode == "warn" {
            let summary = read(file("summary"));
            assert!(
                summary.contains("onerror=alert") && markup(&summary).is_empty(),
                "{:?}\n{summary}",
                markup(&summary)
            );
        }
        let timings = read(file("timings.html"));
        assert!(!timings.contains("<img") && obeyed(&timings).is_empty(), "{timings}");
    }
}

#[expect(clippy::print_stdout, reason = "who sets FLOOD reads the measurements")]
#[tokio::test]
async fn memory_is_bounded_whatever_terraform_prints() {
    let project = MinimalProject::new();
    // Lines of 7.9 MB, warnings, and planned changes; a person can set other numbers.
    let flood = std::env::var("FLOOD").unwrap_or_else(|_| "10 5000 5000".to_owned());
    let plain = program(&project, &format!("flood {flood}")).await;
    let github =
        plain.clone().with("GITHUB_ACTIONS", "true").with("GITHUB_STEP_SUMMARY", project.path().join("s"));
    for (writer, program, args) in [
        ("github", &github, &["plan"][..]),
        ("plain", &plain, &["plan", "--progress", "json", "--output", "json"]),
    ] {
        let start = Instant::now();
        let (code, stdout, stderr, memory) = measured(program, args).await;
        let text = String::from_utf8_lossy(&stderr);
        assert_eq!(code, Some(0), "{}", &text[text.len().saturating_sub(2000)..]);
        println!(
            "{flood} to {writer}: {} MiB, {:.1} s, stdout {} KiB, stderr {} KiB",
            memory / 1024,
            start.elapsed().as_secs_f64(),
            stdout.len() / 1024,
            stderr.len() / 1024
        );
        assert!(memory < MEMORY, "{writer}: {} MiB", memory / 1024);
        if writer == "github" {
            let annotations = text.lines().filter(|line| line.starts_with("::warning ")).count();
            assert!(annotations <= 10, "{annotations} annotations");
            let omits = flood.split(' ').nth(1) != Some("0");
            assert_eq!(omits, text.contains("further messages of this kind are in the log"));
        }
    }
}
