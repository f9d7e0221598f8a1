//! A browser that looks at a page: Chromium without a window.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What the page is asked in the browser. All of it is measured after layout.
const QUESTIONS: &str = r"
const box = element => { const r = element.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
const overlap = ([a, b, c, d], [e, f, g, h]) => a < g - 0.5 && e < c - 0.5 && b < h - 0.5 && f < d - 0.5;
const texts = [...document.querySelectorAll('h1, p, dt, dd, tbody th, td.number, thead th.number, .axis span')]
  .filter(element => element.getClientRects().length > 0);
const ranges = texts.map(element => {
  const range = document.createRange(); range.selectNodeContents(element); return [element.textContent, box(range)];
});
const overlaps = [];
ranges.forEach(([text, place], index) => ranges.slice(index + 1).forEach(([other, there]) => {
  if (overlap(place, there)) overlaps.push([text, other]);
}));
const bars = [...document.querySelectorAll('.bar')];
const answer = {
  rows: document.querySelectorAll('tbody tr').length,
  bars: bars.filter(bar => box(bar)[2] - box(bar)[0] >= 2).length,
  out: bars.filter(bar => {
    const [left, , right] = box(bar), [from, , to] = box(bar.parentElement);
    return left < from - 1 || right > to + 2.5;
  }).length,
  onText: bars.filter(bar => ranges.some(([, place]) => overlap(box(bar), place))).length,
  overlaps,
  wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  background: getComputedStyle(document.body).backgroundColor,
  resources: performance.getEntriesByType('resource').length,
};
document.documentElement.innerHTML = '<pre id=answer></pre>';
document.getElementById('answer').textContent = JSON.stringify(answer);
";

/// Opens a timeline in windows wide and narrow, light and dark, and measures what is rendered.
pub(crate) fn looks_good(page: &Path) {
    let text = std::fs::read_to_string(page).unwrap();
    let bars = text.matches("class=\"bar\"").count() as u64;
    assert!(bars >= 10, "{bars} bars");
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n";
    assert!(text.contains(policy), "the page lets nothing else in");
    // A copy that may ask: the page itself runs no script.
    let asking = page.with_extension("asking.html");
    let script = format!("<script>window.onload = () => {{{QUESTIONS}}}</script></body>");
    std::fs::write(&asking, text.replace(policy, "").replace("</body>", &script)).unwrap();

    for (width, dark) in [(1200, false), (1200, true), (360, false)] {
        let seen = ask(&asking, width, dark);
        assert_eq!(seen["bars"], bars, "{seen}");
        assert_eq!(seen["rows"], bars, "{seen}");
        for none in ["out", "onText", "wider", "resources"] {
            assert_eq!(seen[none], 0, "{none} in a window of {width}: {seen}");
        }
        assert_eq!(seen["overlaps"], Value::Array(Vec::new()), "in a window of {width}");
        // For people: what a failure of this test is about, or just to look at.
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("timeline-{width}-{dark}.png"));
        browse(page, width, dark, &format!("--screenshot={}", picture.display()));
        assert!(picture.metadata().unwrap().len() > 5_000, "an empty picture");
        let background = if dark { "rgb(13, 17, 23)" } else { "rgb(255, 255, 255)" };
        assert_eq!(seen["background"], background);
    }
}

fn ask(page: &Path, width: u32, dark: bool) -> Value {
    let output = browse(page, width, dark, "--dump-dom");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = dom.split_once("<pre id=\"answer\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((answer, _)) = answer else {
        panic!("the browser gave no answer:\n{dom}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    let answer = answer.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&answer).unwrap()
}

fn browse(page: &Path, width: u32, dark: bool, action: &str) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(chromium());
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", action]);
    command.arg("--virtual-time-budget=2000").arg(format!("--window-size={width},900"));
    command.arg(format!("--user-data-dir={}", folder.path().display()));
    if dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    command.arg(format!("file://{}", page.display())).output().unwrap()
}

/// The browser, installed where it is missing and can be.
fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = || {
        let dirs = std::env::split_paths(&path);
        dirs.flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
    };
    if let Some(found) = found() {
        return found;
    }
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs Chromium: install Debian's package `chromium`"
    );
    for args in [&["update", "-q"][..], &["install", "-q", "-y", "--no-install-recommends", "chromium"]] {
        let status = Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status();
        assert!(status.unwrap().success(), "apt-get {args:?}");
    }
    found().expect("Debian's package chromium has a program `chromium`")
}
