//! GitLab's sections: markers in the log that contain times, so that GitLab shows the duration of each step.

/// Lines that can be collapsed, and are collapsed at first if `collapsed`.
pub(super) fn section(
    name: &str,
    start: u64,
    end: u64,
    headline: &str,
    body: &str,
    collapsed: bool,
) -> String {
    let options = if collapsed { "[collapsed=true]" } else { "" };
    format!(
        "\x1b[0Ksection_start:{start}:{name}{options}\r\x1b[0K{headline}\n{body}\x1b[0Ksection_end:{end}:{name}\r\x1b[0K\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_the_form_that_gitlab_documents() {
        assert_eq!(
            section("s_1", 10, 25, "build", "line\n", true),
            "\x1b[0Ksection_start:10:s_1[collapsed=true]\r\x1b[0Kbuild\nline\n\x1b[0Ksection_end:25:s_1\r\x1b[0K\n"
        );
        assert!(!section("s_1", 10, 25, "build", "line\n", false).contains("collapsed"));
    }
}
