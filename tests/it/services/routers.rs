//! Routers in routers, and the layer at each place of them.

use axum::Router;
use axum::extract::rejection::NestedPathRejection;
use axum::extract::{MatchedPath, NestedPath, OriginalUri, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::{any, get};
use http::Uri;

use super::both::{self, Both, Place, Trap, request};

/// A handler that answers what it was given.
fn tell(trap: &Trap) -> axum::routing::MethodRouter {
    let trap = trap.clone();
    get(async move |path: Option<MatchedPath>, uri: Uri, whole: OriginalUri, nested: Nested| {
        trap.spring();
        format!("{path:?} {uri} {whole:?} {nested:?}")
    })
}

/// The path of the outer router, where there is one.
type Nested = Result<NestedPath, NestedPathRejection>;

/// A middleware that blocks for requests with the query `between`, and leaves its name.
fn named(trap: &Trap, name: &'static str, router: Router) -> Router {
    let trap = trap.clone();
    router.layer(from_fn(move |request: Request, next: Next| {
        let trap = trap.clone();
        async move {
            if request.uri().query() == Some("between") {
                trap.spring();
            }
            let mut response = next.run(request).await;
            response.headers_mut().append("x-passed", name.parse().expect("a header"));
            response
        }
    }))
}

fn users(trap: &Trap) -> Router {
    Router::new().route("/users", tell(trap)).route("/users/{id}", tell(trap))
}

type App = fn(&Place, &Trap) -> Router;

/// Compares what comes for those paths, then finds those labels for theirs.
#[track_caller]
fn check(app: App, paths: &[&str], blocks: &[(&'static str, &str)]) {
    let both = Both::new(app);
    for path in paths {
        for method in ["GET", "HEAD", "PUT"] {
            both.same(&request(method, path));
        }
    }
    for (handler, path) in blocks {
        both.finds(handler, &both::get(path));
    }
}

#[test]
fn nest() {
    let paths = ["/api/users/7", "/api/users", "/api", "/users/7", "/api/users/7/more", "/"];
    let outside: App = |place, trap| {
        let inner = named(trap, "inner", users(trap));
        place.on(named(trap, "outer", Router::new().nest("/api", inner)))
    };
    let blocks = [("GET /api/users/{id}", "/api/users/7"), ("GET /api/users", "/api/users")];
    check(outside, &paths, &blocks);
    let inside: App = |place, trap| {
        let inner = place.on(named(trap, "inner", users(trap)));
        named(trap, "outer", Router::new().nest("/api", inner))
    };
    check(inside, &paths, &blocks);
    let deep: App = |place, trap| {
        let inner = Router::new().nest("/{team}", users(trap));
        place.on(Router::new().nest("/api", inner))
    };
    check(deep, &["/api/us/users/7", "/api/us"], &[("GET /api/{team}/users", "/api/us/users")]);
}

#[test]
fn nest_service() {
    let app: App = |place, trap| {
        Router::new().nest_service("/static", place.on(users(trap))).route("/", tell(trap))
    };
    let paths = ["/static/users/7", "/static/users", "/static", "/static/no", "/"];
    check(app, &paths, &[("GET /static/users/{id}", "/static/users/7")]);
}

#[test]
fn merge() {
    let app: App = |place, trap| {
        let others = Router::new().route("/others", tell(trap)).fallback(tell(trap));
        place.on(named(trap, "one", users(trap)).merge(named(trap, "other", others)))
    };
    let blocks =
        [("GET /users/{id}", "/users/7"), ("GET /others", "/others"), ("unmatched", "/no")];
    check(app, &["/users/7", "/others", "/no", "/no/such/page"], &blocks);
}

#[test]
fn fallbacks() {
    let app: App = |place, trap| {
        let nested = users(trap).fallback(tell(trap));
        let not_allowed = async |uri: Uri| (http::StatusCode::IM_A_TEAPOT, uri.to_string());
        let app = Router::new().nest("/api", nested).route("/page", tell(trap));
        place.on(app.fallback(any("nothing")).method_not_allowed_fallback(not_allowed))
    };
    let blocks = [("GET /page", "/page"), ("unmatched", "/api/no")];
    check(app, &["/api/users/7", "/api/no", "/no", "/page"], &blocks);
}

#[test]
fn route_layer() {
    let app: App = |place, trap| place.on_routes(users(trap)).fallback(any("nothing"));
    check(app, &["/users/7", "/users", "/no"], &[("GET /users/{id}", "/users/7")]);
}

#[test]
fn a_layer_within_a_layer() {
    let app: App = |place, trap| {
        let inner = place.on(named(trap, "inner", users(trap)));
        let outer = Router::new().nest_service("/static", inner).route("/page", tell(trap));
        place.on(named(trap, "outer", outer))
    };
    let blocks = [
        // Its innermost mark names a poll; what is outside of that is the outer one's.
        ("GET /static/users/{id}", "/static/users/7"),
        ("unmatched", "/static/users/7?between"),
        ("GET /page", "/page"),
    ];
    check(app, &["/static/users/7", "/static/no", "/page", "/no"], &blocks);
}
