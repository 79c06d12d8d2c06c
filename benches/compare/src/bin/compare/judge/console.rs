//! console-subscriber: a client of its wire protocol, as tokio-console is. It keeps the last state of each task
//! and looks every 50 ms which of them is in a poll, as the terminal does for the column *Busy*.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use console_api::Field;
use console_api::field::Name;
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{InstrumentRequest, Update};
use tower_stall_compare::THRESHOLD_MS;

use super::Finding;
use crate::run::now;

const PAUSE: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Default)]
pub(crate) struct Watch {
    /// The names of the fields of each kind of span.
    fields: HashMap<u64, Vec<String>>,
    /// What each task is: its spawn place, kind and name.
    tasks: HashMap<u64, String>,
    /// By task and the begin of the poll: when it was seen to be long, and how long it was then.
    long: HashMap<(u64, u64), (u64, u64)>,
    last: HashMap<u64, Poll>,
}

#[derive(Clone, Copy)]
struct Poll {
    started: u64,
    /// Before `started` while it lasts.
    ended: u64,
}

impl Watch {
    fn update(&mut self, update: Update) {
        for new in update.new_metadata.into_iter().flat_map(|new| new.metadata) {
            if let (Some(id), Some(metadata)) = (new.id, new.metadata) {
                self.fields.insert(id.id, metadata.field_names);
            }
        }
        let Some(tasks) = update.task_update else { return };
        for task in tasks.new_tasks {
            let Some(id) = task.id else { continue };
            let names = task.metadata.and_then(|id| self.fields.get(&id.id));
            let field = |field: &Field| {
                let name = match field.name.as_ref()? {
                    Name::StrName(name) => name.clone(),
                    Name::NameIdx(at) => names?.get(usize::try_from(*at).ok()?)?.clone(),
                };
                Some(format!("{name}={}", field.value.as_ref()?))
            };
            let fields: Vec<_> = task.fields.iter().filter_map(field).collect();
            let place = task.location.map(|place| {
                format!("{}:{}", place.file.unwrap_or_default(), place.line.unwrap_or(0))
            });
            self.tasks.insert(id.id, format!("{} {}", place.unwrap_or_default(), fields.join(" ")));
        }
        for (id, stats) in tasks.stats_update {
            let Some(polls) = stats.poll_stats else { continue };
            let Some(started) = polls.last_poll_started.and_then(nanoseconds) else { continue };
            let ended = polls.last_poll_ended.and_then(nanoseconds).unwrap_or(0);
            self.last.insert(id, Poll { started, ended });
        }
    }

    fn look(&mut self) {
        let now = now();
        for (id, poll) in &self.last {
            // A closure of the blocking pool is no poll of a worker, and its kind says so.
            let is_of_pool = self.tasks.get(id).is_some_and(|task| task.contains("kind=blocking"));
            let end = if poll.ended < poll.started { now } else { poll.ended };
            let length = end.saturating_sub(poll.started);
            if !is_of_pool && length >= THRESHOLD_MS * 1_000_000 {
                self.long.entry((*id, poll.started)).or_insert((now, length));
            }
        }
    }

    /// Its long polls.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let of_poll = |(&(id, _), &(at, length)): (&(u64, u64), &(u64, u64))| {
            let task = self.tasks.get(&id).map_or("", String::as_str);
            let text = format!("task {id} in a poll for {} ms: {task}", length / 1_000_000);
            Finding { at, text, cause: String::new() }
        };
        self.long.iter().map(of_poll).collect()
    }
}

fn nanoseconds(time: impl TryInto<SystemTime>) -> Option<u64> {
    let since = time.try_into().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

/// The client, on a thread of its own.
pub(crate) struct Client {
    watch: Arc<Mutex<Watch>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Client {
    pub(crate) fn start(address: String) -> Self {
        let watch = Arc::new(Mutex::new(Watch::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (to, is_stopped) = (Arc::clone(&watch), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(follow(&address, &to, &is_stopped));
        });
        Self { watch, stop, thread }
    }

    pub(crate) fn stop(self) -> Watch {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
        std::mem::take(&mut *self.watch.lock().expect("no panic holds it"))
    }
}

async fn follow(address: &str, watch: &Mutex<Watch>, stop: &AtomicBool) {
    let mut client = loop {
        match InstrumentClient::connect(address.to_owned()).await {
            Ok(client) => break client,
            Err(error) => assert!(!stop.load(Ordering::Relaxed), "no console: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let updates = client.watch_updates(InstrumentRequest {}).await.expect("it answers");
    let mut updates = updates.into_inner();
    let mut is_open = true;
    while !stop.load(Ordering::Relaxed) {
        tokio::select! {
            update = updates.message(), if is_open => match update {
                Ok(Some(update)) => watch.lock().expect("no panic holds it").update(update),
                // The service has ended.
                Ok(None) | Err(_) => is_open = false,
            },
            () = tokio::time::sleep(PAUSE) => {}
        }
        if is_open {
            watch.lock().expect("no panic holds it").look();
        }
    }
}
