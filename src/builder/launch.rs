//! The start: threads, admin server, the first runtime.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::runtime::Handle;

use super::handle::Threads;
use super::wiring::{Out, Wiring};
use super::{Settings, StallDetector};
use crate::capture::{Capture, Capturer};
use crate::clock::nanos;
use crate::detector::hub::{Hub, Limits};
use crate::error::BuildError;
use crate::health::State;
use crate::metrics::Batch;
use crate::report::Reporter;
use crate::thread::Worker;
use crate::watchdog::{self, Pace};

/// The shared state for those settings.
pub(crate) fn hub(settings: &Settings, on_new_runtime: Option<fn()>) -> Arc<Hub> {
    Hub::new(Limits {
        threshold: nanos(settings.threshold),
        handlers: settings.handlers,
        ring: settings.ring,
        watching: settings.on,
        capture: settings.capture().as_str(),
        on_new_runtime,
        everywhere: settings.test,
    })
}

/// Starts the detector around its hub.
pub(crate) fn launch(
    hub: Arc<Hub>,
    settings: Settings,
    runtime: Option<Handle>,
) -> Result<StallDetector, BuildError> {
    let pace =
        Pace { scan: nanos(settings.scan()), tick: settings.tick, guardian: settings.guardian() };
    let health = Arc::new(State::new(Arc::clone(&hub), settings.readiness));
    // Before anybody can ask how it does.
    if let (true, Some(runtime)) = (settings.on, &runtime) {
        hub.add_runtime("main", runtime);
    }
    let facade = !settings.test && (settings.facade || settings.admin.is_none());
    #[cfg(feature = "admin")]
    let (out, admin) = ways_out(&hub, &health, &settings, facade)?;
    #[cfg(not(feature = "admin"))]
    let out: Out = Box::<Batch>::default();
    let out: Out = if settings.test { Box::new(()) } else { out };

    let mut threads = Threads::default();
    #[cfg(feature = "admin")]
    {
        threads.admin = admin;
    }
    if settings.on
        && let Err(error) = threads.start(&hub, settings, facade, out, pace)
    {
        // What did start stops with the handle.
        drop(StallDetector::new(hub, health, threads, pace.tick));
        return Err(error);
    }
    let detector = StallDetector::new(hub, health, threads, pace.tick);
    if let Some(runtime) = &runtime {
        detector.arm(runtime);
    }
    Ok(detector)
}

impl Threads {
    fn start(
        &mut self,
        hub: &Arc<Hub>,
        settings: Settings,
        facade: bool,
        out: Out,
        pace: Pace,
    ) -> Result<(), BuildError> {
        if settings.capture() != Capture::Off {
            let name = "stall-capture";
            let capturer = Capturer::spawn(settings.capture());
            let capturer = capturer.map_err(|source| BuildError::Thread { name, source })?;
            self.capturer = Some(Arc::new(capturer));
        }
        let sites = settings.sites;
        let (reports, reporter, names) =
            Reporter::new(Arc::clone(hub), settings.hooks, facade, settings.site_skips);
        self.reporter = Some(spawn("stall-reporter", move || reporter.run())?);
        let capturer = self.capturer.clone();
        if capturer.is_some() {
            self.names = Some(spawn("stall-symbols", move || names.run())?);
        }
        let wiring = Wiring::new(Arc::clone(hub), reports, out, (pace.tick, sites), capturer);
        let stop: Arc<AtomicBool> = Arc::clone(&self.stop);
        let hub = Arc::clone(hub);
        let watch = move || watchdog::run(hub, pace, Box::new(wiring), &stop);
        self.watchdog = Some(spawn("stall-watchdog", watch)?);
        Ok(())
    }
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<Worker, BuildError> {
    Worker::spawn(name, run).map_err(|source| BuildError::Thread { name, source })
}

/// Exactly one way out: the private recorder behind `/metrics`, or the facade.
#[cfg(feature = "admin")]
fn ways_out(
    hub: &Arc<Hub>,
    health: &Arc<State>,
    settings: &Settings,
    facade: bool,
) -> Result<(Out, Option<crate::admin::Admin>), BuildError> {
    use std::sync::Mutex;

    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use crate::admin::{Admin, Pages, Render};
    use crate::metrics::{Board, Direct, HISTOGRAM_BUCKETS, describe};
    use crate::page::Page;
    use crate::sync::lock;

    let users = settings.prometheus.clone();
    let Some(address) = settings.admin else {
        return Ok((Box::new(Batch::default()), None));
    };
    let page = |render| Pages {
        render,
        health: Arc::clone(health),
        page: Page::new(Arc::clone(hub)),
        public: settings.pages_public,
    };
    if facade {
        let render = users.map(|users| -> Render { Arc::new(move || users.render()) });
        return Ok((Box::new(Batch::default()), Some(Admin::start(address, page(render), || ())?)));
    }

    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in HISTOGRAM_BUCKETS {
        builder = builder
            .set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
            .expect("the tables of buckets are not empty");
    }
    let recorder = Arc::new(builder.build_recorder());
    describe(&*recorder);
    let ours = recorder.handle();
    let gauges = Mutex::new((Board::new(Arc::clone(hub)), Direct::new(recorder.clone())));
    let render: Render = Arc::new(move || {
        let (board, sink) = &mut *lock(&gauges);
        board.show(sink);
        let theirs = users.as_ref().map_or_else(String::new, |users| users.render());
        theirs + &ours.render()
    });
    let upkeep = recorder.handle();
    let admin = Admin::start(address, page(Some(render)), move || upkeep.run_upkeep())?;
    Ok((Box::new(Direct::new(recorder)), Some(admin)))
}
