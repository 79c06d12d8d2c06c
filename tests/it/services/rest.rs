//! A REST service: state, extractors, typed errors, and what axum answers by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::both::{self, Both, Place, Trap, request, send_as};

const JSON: &str = "application/json";

#[derive(Clone)]
struct Shop {
    items: Arc<Mutex<BTreeMap<u32, String>>>,
    trap: Trap,
}

enum ShopError {
    NoSuchItem(u32),
    WithoutName,
}

impl IntoResponse for ShopError {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NoSuchItem(id) => (StatusCode::NOT_FOUND, format!("there is no item {id}")),
            Self::WithoutName => (StatusCode::CONFLICT, "an item has a name".to_owned()),
        };
        (status, [("x-shop", "closed")], Json(json!({ "error": error }))).into_response()
    }
}

async fn list(
    State(shop): State<Shop>,
    Query(query): Query<BTreeMap<String, u32>>,
    headers: HeaderMap,
) -> Json<Value> {
    let items = shop.items.lock().expect("nobody panics with it");
    let most = query.get("most").copied().unwrap_or(u32::MAX);
    let items: Vec<_> = items.iter().take(most as usize).collect();
    let agent = headers.get("x-client").and_then(|agent| agent.to_str().ok());
    Json(json!({ "items": items, "client": agent }))
}

async fn add(
    State(shop): State<Shop>,
    Json(name): Json<String>,
) -> Result<impl IntoResponse, ShopError> {
    shop.trap.spring();
    if name.is_empty() {
        return Err(ShopError::WithoutName);
    }
    let mut items = shop.items.lock().expect("nobody panics with it");
    let id = items.len() as u32 + 1;
    items.insert(id, name);
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/items/{id}"))], Json(id)))
}

async fn item(
    State(shop): State<Shop>,
    Path(id): Path<u32>,
) -> Result<impl IntoResponse, ShopError> {
    tokio::task::yield_now().await;
    shop.trap.spring();
    let items = shop.items.lock().expect("nobody panics with it");
    items.get(&id).cloned().ok_or(ShopError::NoSuchItem(id))
}

async fn remove(State(shop): State<Shop>, Path(id): Path<u32>) -> StatusCode {
    shop.items.lock().expect("nobody panics with it").remove(&id);
    StatusCode::NO_CONTENT
}

fn app(place: &Place, trap: &Trap) -> Router {
    let shop = Shop { items: Arc::default(), trap: trap.clone() };
    let routes = Router::new()
        .route("/items", get(list).post(add))
        .route("/items/{id}", get(item).delete(remove))
        .route("/any", any(async |method: http::Method| method.to_string()));
    place.on(routes).with_state(shop)
}

#[test]
fn what_a_client_sees_is_the_same() {
    let both = Both::new(app);
    both.answers(&send_as("POST", "/items", JSON, r#""tea""#), 201);
    let added = both.answers(&send_as("POST", "/items", JSON, r#""milk""#), 201);
    assert_eq!(added.headers["location"], "/items/4", "each is added by HTTP/1.1 and HTTP/2");
    let mut listed = both::get("/items?most=2");
    listed.headers_mut().insert("x-client", "test".parse().expect("a header"));
    let listed = both.answers(&listed, 200);
    assert_eq!(listed.body, r#"{"client":"test","items":[[1,"tea"],[2,"tea"]]}"#);
    assert_eq!(listed.length, Some(listed.body.len() as u64), "it has a content-length");
    both.answers(&both::get("/items/3"), 200);
    let head = both.answers(&request("HEAD", "/items/3"), 200);
    assert_eq!((head.headers["content-length"].as_bytes(), head.is_end_stream), (&b"4"[..], true));
    both.answers(&request("DELETE", "/items/3"), 204);
    // The service's own errors, then axum's.
    assert_eq!(both.answers(&both::get("/items/3"), 404).headers["x-shop"], "closed");
    both.answers(&send_as("POST", "/items", JSON, r#""""#), 409);
    both.answers(&both::get("/items/three"), 400);
    both.answers(&both::get("/items?most=all"), 400);
    both.answers(&both::get("/no/such/page"), 404);
    let allowed = both.answers(&request("PUT", "/items/1"), 405);
    assert_eq!(allowed.headers["allow"], "GET,HEAD,DELETE");
    both.answers(&send_as("POST", "/items", "text/plain", "tea"), 415);
    both.answers(&send_as("POST", "/items", JSON, "tea"), 400);
    both.answers(&send_as("POST", "/items", JSON, "7"), 422);
    both.answers(&request("BREW", "/any"), 200);
    both.answers(&request("OPTIONS", "/items"), 405);
}

#[test]
fn handlers_that_block_are_found() {
    let both = Both::new(app);
    both.finds("POST /items", &send_as("POST", "/items", JSON, r#""tea""#));
    both.finds("GET /items/{id}", &both::get("/items/1"));
    both.finds("HEAD /items/{id}", &request("HEAD", "/items/1"));
}
