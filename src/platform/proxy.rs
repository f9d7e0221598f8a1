//! The variables with a proxy, in one form for all that reads them: the AWS SDK, the client of the probe,
//! Terraform and its providers, cargo and pip.
//!
//! Programs disagree: Terraform ignores `ALL_PROXY`, the SDK sends requests to this machine through a proxy, and
//! some read only lower or only upper case.

use std::collections::BTreeMap;

/// This machine, and where AWS's own machines get their credentials from.
const DIRECT: [&str; 7] =
    ["127.0.0.1", "localhost", "::1", "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254"];

/// Changes the environment of this process, and so of all programs that it starts. Must be called before any
/// thread exists.
#[expect(unsafe_code, reason = "the libraries read only the environment")]
pub(crate) fn unify() {
    let read = |name: &str| std::env::var(name).ok();
    for (name, value) in unified(read) {
        // SAFETY: no other thread exists that could read the environment.
        unsafe { std::env::set_var(name, value) };
    }
}

/// The variables to set; none without a proxy.
fn unified(read: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let first = |names: &[&str]| names.iter().find_map(|name| read(name).filter(|value| !value.is_empty()));
    let both = |name: &str| first(&[name, &name.to_ascii_lowercase()]);
    let all = both("ALL_PROXY");
    let mut variables = BTreeMap::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
        if let Some(proxy) = both(name).or_else(|| all.clone()) {
            variables.insert(name, proxy);
        }
    }
    if variables.is_empty() {
        return BTreeMap::new();
    }
    let mut direct = both("NO_PROXY").unwrap_or_default();
    for host in DIRECT {
        if !direct.split(',').any(|entry| entry.trim() == host) {
            if !direct.is_empty() {
                direct.push(',');
            }
            direct.push_str(host);
        }
    }
    variables.insert("NO_PROXY", direct);
    let cases = |(name, value): (&str, String)| {
        [(name.to_ascii_lowercase(), value.clone()), (name.to_owned(), value)]
    };
    variables.into_iter().flat_map(cases).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> BTreeMap<String, String> {
        unified(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_a_proxy_nothing_changes() {
        assert!(of(&[]).is_empty());
        assert!(of(&[("NO_PROXY", "x"), ("HTTPS_PROXY", "")]).is_empty());
    }

    #[test]
    fn all_spellings_agree_and_local_traffic_is_direct() {
        let variables =
            of(&[("ALL_PROXY", "http://a"), ("https_proxy", "http://b"), ("no_proxy", ".corp, localhost")]);
        for (name, value) in [
            ("HTTP_PROXY", "http://a"),
            ("http_proxy", "http://a"),
            ("HTTPS_PROXY", "http://b"),
            ("https_proxy", "http://b"),
        ] {
            assert_eq!(variables[name], value, "{name}");
        }
        let direct =
            ".corp, localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254";
        assert_eq!(variables["NO_PROXY"], direct);
        assert_eq!(variables["no_proxy"], direct);
        assert_eq!(of(&[("HTTPS_PROXY", "u"), ("https_proxy", "l")])["https_proxy"], "u");
    }
}
