//! Markdown files as what is checked of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A Markdown file.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) name: PathBuf,
    /// Where its links and images lead.
    pub(crate) links: Vec<String>,
    /// The anchors of its headings.
    pub(crate) anchors: BTreeSet<String>,
    /// Its code blocks.
    pub(crate) blocks: Vec<Block>,
    /// Its code in running text.
    pub(crate) spans: Vec<String>,
    /// What a browser takes for elements, comments aside.
    pub(crate) html: Vec<String>,
    /// Its lines outside code blocks and tables, with their numbers.
    pub(crate) prose: Vec<(usize, String)>,
}

/// A code block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// What stands after its fence.
    pub(crate) info: String,
    /// What it holds.
    pub(crate) text: String,
}

impl Block {
    /// Its language.
    pub(crate) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    /// Whether it is a session to be run.
    pub(crate) fn is_run(&self) -> bool {
        self.info.split(' ').skip(1).any(|word| word == "run")
    }

    /// The project of the corpus in which its session is run.
    pub(crate) fn adopts(&self) -> Option<&str> {
        self.info.split(' ').find_map(|word| word.strip_prefix("adopt="))
    }

    /// The file that it is, in the sessions' project.
    pub(crate) fn file(&self) -> Option<&str> {
        self.info.split(' ').find_map(|word| word.strip_prefix("file="))
    }
}

/// This repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document: those of the book, and those around it.
pub(crate) fn all() -> Vec<Page> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root()).unwrap() {
        names.push(PathBuf::from(entry.unwrap().file_name()));
    }
    names.retain(|name| is_markdown(name));
    for folder in ["docs", "terraform", "lambdas"] {
        find(Path::new(folder), &mut names);
    }
    names.sort();
    names.iter().map(|name| Page::read(name)).collect()
}

fn find(folder: &Path, names: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != ".terraform" {
                find(&name, names);
            }
        } else if is_markdown(&name) {
            names.push(name);
        }
    }
}

fn is_markdown(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "md")
}

/// The chapters of the book, in its order.
pub(crate) fn chapters() -> Vec<PathBuf> {
    let summary = Page::read(Path::new("docs/SUMMARY.md"));
    summary.links.iter().map(|link| Path::new("docs").join(link)).collect()
}

impl Page {
    /// Reads one.
    pub(crate) fn read(name: &Path) -> Self {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        Self { name: name.to_owned(), ..Self::of(&text) }
    }

    /// Reads a text.
    pub(crate) fn of(text: &str) -> Self {
        let mut page = Self { prose: prose(text), ..Self::default() };
        let (mut heading, mut block) = (None::<String>, None::<Block>);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.anchor(&heading.take().unwrap_or_default()),
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block { info, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.to_string());
                }
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    page.spans.push(code.to_string());
                }
                Event::Html(html) | Event::InlineHtml(html) if !html.trim().starts_with("<!--") => {
                    page.html.push(html.to_string());
                }
                _ => {}
            }
        }
        page
    }

    /// As GitHub and mdBook make them.
    fn anchor(&mut self, heading: &str) {
        let kept = |c: char| match c {
            c if c.is_whitespace() => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        };
        let plain: String = heading.trim().to_lowercase().chars().filter_map(kept).collect();
        let mut anchor = plain.clone();
        for number in 1.. {
            if self.anchors.insert(anchor) {
                break;
            }
            anchor = format!("{plain}-{number}");
        }
    }

    /// Whether it belongs into the book.
    pub(crate) fn is_chapter(&self) -> bool {
        self.name.starts_with("docs") && self.name != Path::new("docs/SUMMARY.md")
    }

    /// Whether it tells what was, and is not rewritten when a command changes.
    pub(crate) fn is_history(&self) -> bool {
        self.name.starts_with("docs/decisions") || self.is_changelog()
    }

    /// Whether it is the changelog.
    pub(crate) fn is_changelog(&self) -> bool {
        self.name == Path::new("CHANGELOG.md")
    }
}

fn prose(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut is_prose = vec![true; lines.len()];
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        if matches!(event, Event::Start(Tag::CodeBlock(_) | Tag::Table(_))) {
            let first = text[..range.start].matches('\n').count();
            let last = text[..range.end].trim_end().matches('\n').count();
            is_prose[first..=last].fill(false);
        }
    }
    let numbered = lines.iter().enumerate().filter(|(place, _)| is_prose[*place]);
    numbered.map(|(place, line)| (place + 1, (*line).to_owned())).collect()
}

/// A command of a session as it is typed, and the lines that it shows.
pub(crate) type Shown<'a> = (String, Vec<&'a str>);

/// The commands of a session: each begins with `$ `, goes on with `> `, and is followed by its output.
pub(crate) fn commands(session: &str) -> Vec<Shown<'_>> {
    let mut commands: Vec<Shown<'_>> = Vec::new();
    for line in session.lines() {
        match (line.strip_prefix("$ "), line.strip_prefix("> "), commands.last_mut()) {
            (Some(command), ..) => commands.push((command.to_owned(), Vec::new())),
            (None, Some(more), Some((command, output))) if output.is_empty() => {
                command.push('\n');
                command.push_str(more);
            }
            (None, _, Some((_, output))) => output.push(line),
            (None, ..) => assert!(line.is_empty(), "output of no command: {line}"),
        }
    }
    for (_, output) in &mut commands {
        output.truncate(output.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
    }
    commands
}
