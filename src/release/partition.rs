//! The partitions of AWS: the part of an ARN, and the domain of host names, that follow from a region.

/// The partitions other than `aws`, by the beginning of their regions' names.
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
];

/// The partition and the domain of a region.
fn of(region: &str) -> (&'static str, &'static str) {
    let found = PARTITIONS.iter().find(|(prefix, _, _)| region.starts_with(prefix));
    found.map_or(("aws", "amazonaws.com"), |(_, partition, domain)| (partition, domain))
}

/// The partition of a region, such as `aws-cn`: the second part of its ARNs.
pub(crate) fn partition(region: &str) -> &'static str {
    of(region).0
}

/// The domain of a region's host names, such as `amazonaws.com.cn`.
pub(crate) fn domain(region: &str) -> &'static str {
    of(region).1
}

/// The URL of a stage of an API in a region of AWS.
pub(crate) fn execute_url(region: &str, rest_api_id: &str, stage_name: &str) -> String {
    format!("https://{rest_api_id}.execute-api.{region}.{}/{stage_name}", domain(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_one_partition() {
        for (region, expected) in [
            ("eu-west-1", ("aws", "amazonaws.com")),
            ("cn-northwest-1", ("aws-cn", "amazonaws.com.cn")),
            ("us-gov-west-1", ("aws-us-gov", "amazonaws.com")),
            ("us-isob-east-1", ("aws-iso-b", "sc2s.sgov.gov")),
            ("eusc-de-east-1", ("aws-eusc", "amazonaws.eu")),
        ] {
            assert_eq!((partition(region), domain(region)), expected, "{region}");
        }
    }
}
