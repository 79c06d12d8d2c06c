//! Who may see the pages of stalls, and the reasons of probes: they name code, files and addresses.
//!
//! Unless they are public, only clients on this machine see them: the connection comes in by a loopback
//! address, the Host of the request is one, and no proxy says that it forwards it. `kubectl port-forward`
//! and SSH tunnels pass. A foreign name that resolves to a loopback address (DNS rebinding) does not.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// The address of our end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local(pub(super) SocketAddr);

const FOREIGN_ADDRESS: &str = "403: this page is shown on loopback addresses only, and this connection \
    came in by another. Use kubectl port-forward or an SSH tunnel, or open the pages to all with \
    .pages_public(true) or TOWER_STALL_PAGES_PUBLIC=true\n";
const FOREIGN_HOST: &str = "403: this page is shown to requests to localhost, 127.0.0.1 or [::1] only, and \
    this one has another Host. Open the pages to all with .pages_public(true) or \
    TOWER_STALL_PAGES_PUBLIC=true\n";

const FORWARDED: &str = "403: this page is shown to clients on this machine only, and a proxy has forwarded \
    this request: it has a header Forwarded, X-Forwarded-.., X-Real-IP or Via. Open the pages to all with \
    .pages_public(true) or TOWER_STALL_PAGES_PUBLIC=true\n";

/// Whether the client that sends this request sees the pages though they are not public.
pub(super) fn is_local_client(request: &Request) -> bool {
    objection_to(request).is_none()
}

/// Routes that only clients on this machine see, unless they are public.
pub(super) fn guarded(routes: Router, public: bool) -> Router {
    if public { routes } else { routes.layer(from_fn(local_only)) }
}

/// Lets a request through, or says why not.
async fn local_only(request: Request, next: Next) -> Response {
    match objection_to(&request) {
        None => next.run(request).await,
        Some(why) => {
            (StatusCode::FORBIDDEN, [(header::CACHE_CONTROL, "no-store")], why).into_response()
        }
    }
}

fn objection_to(request: &Request) -> Option<&'static str> {
    let local = request.extensions().get::<Local>().map(|local| local.0);
    objection(local, request.uri(), request.headers())
}

fn objection(local: Option<SocketAddr>, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    if !local.is_some_and(|local| is_loopback(local.ip())) {
        return Some(FOREIGN_ADDRESS);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
    // An absolute target overrides the header. Both have to be local.
    let in_target = uri.authority().map(Authority::as_str);
    let all = host.into_iter().chain(in_target).all(is_local);
    if host.is_none() || !all {
        return Some(FOREIGN_HOST);
    }
    headers.keys().any(is_of_a_proxy).then_some(FORWARDED)
}

fn is_of_a_proxy(header: &HeaderName) -> bool {
    let name = header.as_str();
    matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
}

/// Whether a host, with or without port, is this machine.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = address.parse().is_ok_and(is_loopback);
    !host.contains('@') && (name.eq_ignore_ascii_case("localhost") || is_loopback)
}

fn is_loopback(address: IpAddr) -> bool {
    // A dual-stack socket maps IPv4 addresses to IPv6.
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(local: &str, uri: &str, hosts: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a header"));
        }
        let local = local.parse().expect("an address");
        objection(Some(local), &uri.parse().expect("a target"), &headers)
    }

    #[test]
    fn whoever_is_on_this_machine_sees_the_pages() {
        for host in
            ["localhost", "LocalHost:9099", "127.0.0.1:9099", "127.1.2.3", "[::1]", "[::1]:9099"]
        {
            for local in ["127.0.0.1:9099", "[::1]:9099", "[::ffff:127.0.0.1]:9099"] {
                assert_eq!(asked(local, "/stalls", &[host]), None, "{host} at {local}");
            }
        }
        assert_eq!(asked("127.0.0.1:1", "http://localhost:1/stalls", &["localhost:1"]), None);
    }

    #[test]
    fn a_foreign_name_does_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "10.0.0.7:9099",
            "[2001:db8::1]:9099",
            "0.0.0.0",
            "[::]",
            "",
            "local host",
        ] {
            assert_eq!(asked("127.0.0.1:9099", "/stalls", &[host]), Some(FOREIGN_HOST), "{host}");
        }
        assert_eq!(asked("127.0.0.1:1", "/stalls", &[]), Some(FOREIGN_HOST), "no name");
        let both = ["localhost", "evil.example"];
        assert_eq!(asked("127.0.0.1:1", "/stalls", &both), Some(FOREIGN_HOST), "two names");
        let target = asked("127.0.0.1:1", "http://evil.example/stalls", &["localhost"]);
        assert_eq!(target, Some(FOREIGN_HOST), "another name in the target");
    }

    #[test]
    fn a_client_behind_a_proxy_does_not() {
        let told = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost".parse().expect("a header"));
            // Names come in lower case, however they were sent.
            headers.insert(HeaderName::from_static(name), "10.0.0.7".parse().expect("a header"));
            let local = Some(([127, 0, 0, 1], 9099).into());
            objection(local, &"/stalls".parse().expect("a target"), &headers)
        };
        for name in ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-tls-version"]
        {
            assert_eq!(told(name), Some(FORWARDED), "{name}");
        }
        for name in ["accept", "x-forward", "x-request-id"] {
            assert_eq!(told(name), None, "{name}");
        }
    }

    #[test]
    fn a_foreign_address_does_not() {
        for local in ["10.0.0.7:9099", "[2001:db8::1]:9099", "[::ffff:10.0.0.7]:9099"] {
            assert_eq!(asked(local, "/stalls", &["localhost"]), Some(FOREIGN_ADDRESS), "{local}");
        }
        let target = "/stalls".parse().expect("a target");
        assert_eq!(objection(None, &target, &HeaderMap::new()), Some(FOREIGN_ADDRESS));
    }
}
