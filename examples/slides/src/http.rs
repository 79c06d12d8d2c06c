//! HTTP requests, each over a connection of its own, as the kubelet sends its probes.

use std::time::Duration;

use crate::probe::Outcome;

/// What a probe got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// The body, or why there is none.
    pub(crate) text: String,
}

/// Sends a probe. Connection, answer and body have to come within the time-out; a redirect is not
/// followed, since it counts as a success.
pub(crate) fn probe(url: &str, timeout: Duration) -> Answer {
    match get(url, Some(timeout)) {
        Ok((status, text)) => Answer { outcome: Outcome::of(Some(status)), text },
        Err(ureq::Error::Timeout(_)) => {
            let text = format!("no answer within {timeout:?}");
            Answer { outcome: Outcome::of(None), text }
        }
        Err(error) => Answer { outcome: Outcome::of(None), text: error.to_string() },
    }
}

/// Waits for the answer of a handler, however long it takes.
pub(crate) fn call(url: &str) -> Result<(), crate::Error> {
    match get(url, None) {
        Ok((200, _)) => Ok(()),
        Ok((status, text)) => Err(format!("{url} answered {status}: {text}").into()),
        Err(error) => Err(format!("{url}: {error}").into()),
    }
}

/// The sum of the series of a counter with that label, on the page of an admin server.
pub(crate) fn counter(admin: &str, name: &str, label: &str) -> Result<u64, crate::Error> {
    let (_, page) = get(&format!("{admin}/metrics"), None)?;
    let series = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    let values = series.filter_map(|line| line.rsplit(' ').next());
    Ok(values.filter_map(|value| value.parse::<u64>().ok()).sum())
}

/// Status and body of a page.
fn get(url: &str, timeout: Option<Duration>) -> Result<(u16, String), ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(timeout)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent.get(url).call()?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Probes a server that does this with each connection.
    fn probe_served_by(
        timeout: Duration,
        serve: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
    ) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let _ = serve(&mut connection); // an error: the prober has gone
            }
        });
        probe(&format!("http://{address}/livez"), timeout)
    }

    fn answer(text: &'static str) -> impl Fn(&mut TcpStream) -> std::io::Result<()> {
        move |connection| {
            let _ = connection.read(&mut [0; 4096])?;
            connection.write_all(text.as_bytes())
        }
    }

    #[test]
    fn an_answer_counts_by_its_status_and_brings_its_body() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";
        let found = probe_served_by(TIMEOUT, answer(ok));
        assert_eq!((found.outcome, found.text.as_str()), (Outcome::Success, "ok"));
        let dead = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\ndead\n";
        let found = probe_served_by(TIMEOUT, answer(dead));
        assert_eq!((found.outcome, found.text.as_str()), (Outcome::Failure, "dead"));
    }

    #[test]
    fn a_redirect_is_a_success_and_is_not_followed() {
        let moved =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(probe_served_by(TIMEOUT, answer(moved)).outcome, Outcome::Success);
    }

    #[test]
    fn no_answer_in_time_is_a_failure() {
        let timeout = Duration::from_millis(200);
        let silence = |connection: &mut TcpStream| {
            let mut request = Vec::new();
            connection.read_to_end(&mut request).map(drop) // until the prober has gone
        };
        let start = Instant::now();
        assert_eq!(probe_served_by(timeout, silence).outcome, Outcome::Failure);
        assert!(start.elapsed() >= timeout, "it waited for the time-out");
    }

    #[test]
    fn a_body_that_does_not_end_in_time_is_a_failure() {
        let endless = |connection: &mut TcpStream| {
            answer("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nok\n")(connection)?;
            connection.read_to_end(&mut Vec::new()).map(drop)
        };
        let found = probe_served_by(Duration::from_millis(200), endless);
        assert_eq!(found.outcome, Outcome::Failure, "{}", found.text);
    }

    #[test]
    fn a_refused_connection_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/livez", listener.local_addr().expect("bound"));
        drop(listener);
        assert_eq!(probe(&url, TIMEOUT).outcome, Outcome::Failure);
    }
}
