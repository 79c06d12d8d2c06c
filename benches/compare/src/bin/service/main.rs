//! The service that every contender watches: `service TOOL WORKERS FOLDER`.
//!
//! It prints where it listens, and when a fault begins and ends. It ends with its standard input.

mod faults;
mod monitored;
mod tools;

use std::io::Read;
use std::path::PathBuf;

use axum::Router;
use axum::routing::get;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let tool = next("the tool");
    let workers = next("the number of workers").parse().expect("a number of workers");
    let folder = PathBuf::from(next("a folder for what the tool writes"));

    let watched = tools::start(&tool, workers, folder);
    let mut app = Router::new().route("/hello", get(|| async { "hello\n" }));
    for (path, handler) in faults::handlers() {
        app = app.route(path, (watched.around_handler)(path, handler));
    }
    let app = (watched.around)(app);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    watched.runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        axum::serve(listener, app).await.expect("it serves");
    });
    println!("listening on http://{address}");

    let mut rest = Vec::new();
    // Whatever comes of it, there is no more.
    let _end = std::io::stdin().read_to_end(&mut rest);
    watched.runtime.shutdown_background();
    (watched.end)();
}
