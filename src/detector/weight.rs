//! What 256 records with long stacks weigh: on the wire, in memory, and on their way to clients.

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::Value;
    use tokio::runtime::Runtime;

    use super::super::{StallDetector, child};
    use crate::clock;
    use crate::stall::tests::stall;
    use crate::stall::{Cause, Frame, LiveStall, Site, Stack, StackResult, Stall, StallStore};
    use crate::sys::allocator::{held, peak_of};

    const RECORDS: usize = 256;
    const FRAMES: usize = 64;
    /// Frames that differ.
    const PLACES: usize = 300;
    const MIB: usize = 1 << 20;
    const LIMIT: Duration = Duration::from_secs(60);

    /// Frames as services have them: two hundred characters of generic names, in a file with a long path.
    fn places() -> Vec<Arc<Frame>> {
        let modules: [Arc<str>; 2] = ["server".into(), "libc.so.6".into()];
        let builds: [Arc<str>; 2] = ["a1".repeat(20).into(), "b2".repeat(20).into()];
        let place = |number: usize| {
            let module = usize::from(number.is_multiple_of(50));
            let function = format!(
                "<tower_http::map_response_body::MapResponseBody<axum::routing::route::Route<E>,\
                app::layers::layer_{number}::Wrap<B>> as tower_service::Service<http::request::\
                Request<axum_core::body::Body>>>::call::{{{{closure}}}}::{{{{closure}}}}"
            );
            let crates = "/usr/local/cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
            Arc::new(Frame {
                function: Some(function),
                file: Some(format!("{crates}/app-layers-1.54.0/src/layer_{}/route.rs", number / 4)),
                line: Some(number as u32),
                address: 0x5555_0000_0000 + number as u64,
                module: Some(Arc::clone(&modules[module])),
                offset: 0x1_0000 + number as u64,
                build_id: Some(Arc::clone(&builds[module])),
                inlined: number % 3 == 1,
                own: number.is_multiple_of(4),
                guessed: false,
            })
        };
        (0..PLACES).map(place).collect()
    }

    /// A record of its own handler and site.
    fn record(number: usize, frames: Vec<Arc<Frame>>) -> Arc<LiveStall> {
        let (_, own) = frames.iter().enumerate().find(|(_, frame)| frame.own).expect("one");
        let site = Site {
            function: format!("{}_{number}", own.function.as_deref().expect("a name")),
            file: own.file.clone(),
            line: Some(number as u32),
        };
        let counted = Stall {
            handler: format!("GET /api/v1/projects/{{project}}/things_{number}/{{thing}}").into(),
            cause: Cause::FileIo,
            fix: Cause::FileIo.fix().into(),
            started_at: clock::wall(clock::now()),
            trace_id: Some(number as u128),
            ..stall(number as u64 + 1)
        };
        let entry = LiveStall::new(counted);
        entry.set_detail(Some(format!("read of /var/lib/service/data/table-{number}.parquet")));
        let stack = Some(Arc::new(Stack { frames, thread: 4711, ..Stack::default() }));
        entry.set_stack_result(StackResult { site: Some(site), stack, ..StackResult::default() });
        entry.end(300_000_000, 3);
        Arc::new(entry)
    }

    /// `share`: as the symbolizer does; else each record has its frames for itself.
    fn records(share: bool) -> Vec<Arc<LiveStall>> {
        let places = places();
        let own = |frame: &Arc<Frame>| {
            if share { Arc::clone(frame) } else { Arc::new((**frame).clone()) }
        };
        let frames = |number: usize| {
            let inner = (0..FRAMES / 2).map(move |at| (number * 7 + at * 5) % PLACES);
            inner.chain(PLACES - FRAMES / 2..PLACES)
        };
        let record = |number| record(number, frames(number).map(|at| own(&places[at])).collect());
        (0..RECORDS).map(record).collect()
    }

    struct Full {
        stall: StallDetector,
        /// The detector watches it.
        _runtime: Runtime,
        admin: SocketAddr,
    }

    impl Full {
        fn new() -> Self {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
            // Nothing but these records.
            let builder =
                StallDetector::builder().threshold(LIMIT).scan_interval(Duration::from_millis(10));
            let builder = builder.admin((Ipv4Addr::LOCALHOST, 0));
            let stall = runtime.block_on(async { builder.start() }).expect("a detector");
            let admin = stall.admin_addr().expect("an admin server");
            let mut records = records(true);
            while !records.is_empty() {
                stall.registry().store.take_over(&mut records);
            }
            Self { stall, _runtime: runtime, admin }
        }
    }

    /// Status, and what `read` does with each piece of the answer.
    fn get(admin: SocketAddr, path: &str, mut read: impl FnMut(&[u8])) -> String {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .expect("it reads");
        let (mut piece, mut status) = ([0; 4096], None);
        loop {
            let length = stream.read(&mut piece).expect("an answer");
            if length == 0 {
                return status.expect("a status");
            }
            status.get_or_insert_with(|| String::from_utf8_lossy(&piece[9..12]).into_owned());
            read(&piece[..length]);
        }
    }

    /// Status and length of an answer that nobody keeps.
    fn length(admin: SocketAddr, path: &str) -> (String, usize) {
        let mut length = 0;
        let status = get(admin, path, |piece| length += piece.len());
        (status, length)
    }

    #[test]
    fn the_document_is_small_and_says_what_the_records_do() {
        let full = Full::new();
        let mut answer =
            ureq::get(format!("http://{}/stalls.json", full.admin)).call().expect("it");
        let text = answer.body_mut().read_to_string().expect("text");
        println!("/stalls.json: {} bytes", text.len());
        assert!(text.len() <= 1_000_000, "{} bytes", text.len());
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let list = |name: &str| document[name].as_array().expect("a list");
        assert_eq!((list("modules").len(), list("frames").len()), (2, PLACES));
        let stalls = full.stall.stalls();
        assert_eq!((list("recent").len(), stalls.len()), (RECORDS, RECORDS));
        for (stall, written) in stalls.iter().zip(list("recent")) {
            let mut written = written.clone();
            for number in written["stack"]["frames"].as_array_mut().expect("numbers") {
                let mut frame = list("frames")[number.as_u64().expect("a number") as usize].clone();
                let module = &list("modules")[frame["module"].as_u64().expect("one") as usize];
                frame["build_id"] = module["build_id"].clone();
                frame["module"] = module["name"].clone();
                *number = frame;
            }
            assert_eq!(written, serde_json::to_value(stall).expect("plain data"));
        }
    }

    #[test]
    fn a_page_takes_little_memory() {
        child::run("detector::weight::tests::a_page_takes_little_memory", &[], || {
            let full = Full::new();
            let mut paths =
                vec!["/livez?format=json", "/metrics", "/stalls.json", "/stalls", "/stalls/7"];
            if cfg!(feature = "profile") {
                paths.extend(["/stalls.folded", "/debug/pprof/stalls", "/stalls.firefox.json"]);
            }
            // All of them are in the metrics.
            let is_there = || {
                let mut page = Vec::new();
                get(full.admin, "/metrics", |piece| page.extend_from_slice(piece));
                String::from_utf8_lossy(&page).matches("_stalls_total{").count() >= RECORDS
            };
            while !is_there() {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Each also by itself, when all that a first one needs is there.
            for path in paths.iter().cycle().take(2 * paths.len()) {
                let mut got = (String::new(), 0);
                let peak = peak_of(|| got = length(full.admin, path));
                println!("{path}: {} bytes, peak {} KiB over idle", got.1, peak / 1024);
                assert_eq!(got.0, "200", "{path}");
                assert!(peak <= 4 * MIB, "{path}: {peak} bytes over idle");
            }
        });
    }

    #[test]
    fn slow_clients_take_little_memory_and_stop_nobody() {
        const SLOW: usize = 20;
        child::run(
            "detector::weight::tests::slow_clients_take_little_memory_and_stop_nobody",
            &[],
            || {
                let full = Full::new();
                let paths = ["/stalls.json", "/stalls", "/metrics"];
                let mut slow = Vec::new();
                let peak = peak_of(|| {
                    for path in paths.iter().cycle().take(SLOW) {
                        let mut stream = TcpStream::connect(full.admin).expect("it listens");
                        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                        // All but the first are never answered.
                        stream.write_all(ask.repeat(200).as_bytes()).expect("it reads");
                        slow.push(stream);
                    }
                    for path in paths {
                        assert_eq!(length(full.admin, path).0, "200", "{path}");
                    }
                });
                println!("{SLOW} slow clients: peak {} KiB over idle", peak / 1024);
                assert!(peak <= 8 * MIB, "{peak} bytes over idle");
                drop(slow);
            },
        );
    }

    #[test]
    fn records_share_their_frames() {
        child::run("detector::weight::tests::records_share_their_frames", &[], || {
            let weight = |share| {
                let before = held();
                let records = records(share);
                (held() - before, records).0
            };
            let (alone, shared) = (weight(false), weight(true));
            println!(
                "{RECORDS} records: {} KiB, {} KiB without sharing",
                shared / 1024,
                alone / 1024
            );
            assert!(shared <= MIB, "{shared} bytes");
        });
    }

    #[test]
    fn sums_by_stack_take_little_memory() {
        child::run("detector::weight::tests::sums_by_stack_take_little_memory", &[], || {
            let before = held();
            let store = StallStore::new(0);
            let mut records = records(true);
            while !records.is_empty() {
                store.take_over(&mut records);
            }
            drop(records);
            let weight = held() - before;
            println!("sums of {RECORDS} records, by site and by stack: {} KiB", weight / 1024);
            assert!(weight <= MIB, "{weight} bytes");
        });
    }
}
