//! Pages over HTTP, and the numbers on the page of metrics.

use std::net::SocketAddr;

use super::LIMIT;

/// An HTTP client for plain threads. Answers of every status are answers.
pub(crate) fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder();
    config.http_status_as_error(false).timeout_global(Some(LIMIT)).build().into()
}

/// Status and body of a page.
#[track_caller]
pub(crate) fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
    let mut answer = client().get(format!("http://{address}{path}")).call().expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a text");
    (answer.status().as_u16(), body)
}

/// The page of metrics at an admin address.
#[track_caller]
pub(crate) fn scrape(admin: SocketAddr) -> String {
    let (status, page) = fetch(admin, "/metrics");
    assert_eq!(status, 200, "{page}");
    page
}

/// One sample of a page of metrics.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) value: f64,
}

/// All samples of a page. (No label value of ours has a quote or a comma in it.)
pub(crate) fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (name, labels) = match series.split_once('{') {
            None => (series, ""),
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
        };
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let labels = labels
            .map(|label| {
                let (name, value) = label.split_once('=').expect("a label has a value");
                (name, value.trim_matches('"'))
            })
            .collect();
        Sample { name, labels, value: value.parse().expect("a number") }
    })
}

/// The sum of the series of that name with these labels, and whatever others; `None` if there
/// are none.
pub(crate) fn metric(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let is_it = |sample: &Sample<'_>| {
        sample.name == name && labels.iter().all(|label| sample.labels.contains(label))
    };
    samples(page).filter(is_it).map(|sample| sample.value).reduce(|sum, value| sum + value)
}

/// The same with labels as they are written (`runtime="main"`).
pub(crate) fn find(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let whole = series.is_empty() || series.starts_with('{');
        (whole && labels.iter().all(|label| series.contains(label)))
            .then(|| value.parse::<f64>().expect("a number"))
    });
    values.reduce(|sum, value| sum + value)
}
