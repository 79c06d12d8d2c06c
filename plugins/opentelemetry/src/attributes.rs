//! The attributes of a stall's span.

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{
    CODE_FILE_PATH, CODE_FUNCTION_NAME, CODE_LINE_NUMBER, CODE_STACKTRACE, ERROR_TYPE,
    HTTP_REQUEST_METHOD, HTTP_ROUTE, RPC_METHOD, RPC_SYSTEM_NAME, THREAD_ID, THREAD_NAME,
};
use tower_stall::Stall;

/// The methods that the stall layer makes labels with.
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE", "_OTHER"];

/// OpenTelemetry's names where it has one, else those of the log below `tower_stall`.
pub(crate) fn attributes(stall: &Stall, thread_name: Option<String>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(ERROR_TYPE, stall.cause.as_str()),
        KeyValue::new("tower_stall.id", number(stall.id)),
        KeyValue::new("tower_stall.runtime", stall.runtime.clone()),
        KeyValue::new("tower_stall.handler", stall.handler.clone()),
        KeyValue::new("tower_stall.cause", stall.cause.as_str()),
        KeyValue::new("tower_stall.fix", stall.fix.clone()),
        KeyValue::new("tower_stall.workers", number(stall.workers)),
        KeyValue::new("tower_stall.workers_stalled", number(stall.workers_stalled)),
        KeyValue::new("tower_stall.requests_in_flight", number(stall.requests_in_flight)),
        KeyValue::new("tower_stall.delayed_requests", number(stall.delayed_requests)),
    ];
    attributes.extend(of_handler(&stall.handler));
    let mut add = |attribute: Option<KeyValue>| attributes.extend(attribute);
    let text = |name: &'static str, text: String| KeyValue::new(name, text);
    add(stall.worker.map(|worker| KeyValue::new("tower_stall.worker", number(worker))));
    add(stall.detail.clone().map(|detail| text("tower_stall.detail", detail)));
    let why = |why: &std::borrow::Cow<'static, str>| why.to_string();
    add(stall.site_missing.as_ref().map(|it| text("tower_stall.site_missing", why(it))));
    add(stall.stack_missing.as_ref().map(|it| text("tower_stall.stack_missing", why(it))));
    add(stall.last_seen.as_ref().map(|site| text("tower_stall.last_seen", site.to_string())));
    add(stall.later.last().map(|later| text("tower_stall.later", later.to_string())));
    if let Some(site) = stall.site.clone() {
        add(Some(text(CODE_FUNCTION_NAME, site.function)));
        add(site.file.map(|file| text(CODE_FILE_PATH, file)));
        add(site.line.map(|line| KeyValue::new(CODE_LINE_NUMBER, i64::from(line))));
    }
    if let Some(stack) = &stall.stack {
        add(Some(text(CODE_STACKTRACE, stack.to_string())));
        add(Some(KeyValue::new(THREAD_ID, i64::from(stack.thread))));
    }
    add(thread_name.map(|name| text(THREAD_NAME, name)));
    attributes
}

/// Method and route, or the method of gRPC. Other names, as of watched futures, are no such thing.
fn of_handler(handler: &str) -> Vec<KeyValue> {
    let words = handler.split_once(' ');
    let is_http =
        |(method, route): &(&str, &str)| METHODS.contains(method) && route.starts_with('/');
    if let Some((method, route)) = words.filter(is_http) {
        return vec![
            KeyValue::new(HTTP_REQUEST_METHOD, method.to_owned()),
            KeyValue::new(HTTP_ROUTE, route.to_owned()),
        ];
    }
    let method = handler.strip_prefix('/').unwrap_or_default();
    match method.split_once('/') {
        // `echo.v1.Echo/Unary`.
        Some((service, name))
            if service.contains('.') && !name.is_empty() && !name.contains('/') =>
        {
            vec![
                KeyValue::new(RPC_SYSTEM_NAME, "grpc"),
                KeyValue::new(RPC_METHOD, method.to_owned()),
            ]
        }
        _ => Vec::new(),
    }
}

/// The name of the blocked thread as the kernel has it: its first 15 bytes.
pub(crate) fn thread_name(stall: &Stall) -> Option<String> {
    let thread = stall.stack.as_ref()?.thread;
    let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_have_a_route_or_a_method_of_grpc_or_neither() {
        for (handler, expected) in [
            ("GET /users/{id}", "http.request.method=GET http.route=/users/{id}"),
            ("_OTHER /", "http.request.method=_OTHER http.route=/"),
            ("/echo.v1.Echo/Unary", "rpc.system.name=grpc rpc.method=echo.v1.Echo/Unary"),
            ("/static/page", ""),
            ("/a.b/c/d", ""),
            ("GET it", ""),
            ("nightly /report", ""),
            ("environment", ""),
            ("", ""),
        ] {
            let found = of_handler(handler);
            let found: Vec<_> =
                found.iter().map(|it| format!("{}={}", it.key, it.value.as_str())).collect();
            assert_eq!(found.join(" "), expected, "{handler}");
        }
    }
}
