//! The start: threads, admin server, the first runtime.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::detector::StallDetector;
use super::pipeline::{Out, Pipeline};
use super::threads::Threads;
use crate::cause::hints;
use crate::clock::nanos;
use crate::config::BuildError;
use crate::config::Settings;
use crate::health::HealthState;
use crate::metrics::Batch;
use crate::owned_thread::OwnedThread;
use crate::report::{ReportWays, Reporter};
use crate::runtime::registry::{Limits, Registry};
use crate::stack::{Capture, OwnCode, Sampler, StackSettings, Stacks};
use crate::stall::StackDetail;
use crate::ticker;
use crate::watchdog::{self, Patience, WatchdogSettings};

/// The shared state for those settings.
pub(crate) fn registry(settings: &Settings, on_new_runtime: Option<fn()>) -> Arc<Registry> {
    Registry::new(Limits {
        threshold: nanos(settings.threshold),
        handlers: settings.max_handlers,
        history: settings.history,
        watching: settings.on,
        capture: settings.capture().as_str(),
        on_new_runtime,
        everywhere: settings.test,
    })
}

/// Starts the detector around its registry.
pub(crate) fn launch(
    registry: Arc<Registry>,
    settings: Settings,
    runtime: Option<Handle>,
) -> Result<StallDetector, BuildError> {
    let tick = settings.tick_interval;
    let health = Arc::new(HealthState::new(Arc::clone(&registry), settings.readiness));
    // Before anybody can ask how it does.
    let main = runtime.as_ref().filter(|_| settings.on);
    let main = main.and_then(|runtime| registry.add_runtime("main", runtime));
    if let Some(runtime) = &main {
        // Its idle workers answer while the threads start.
        ticker::map_idle_workers(&registry, runtime);
    }
    let facade = !settings.test && (settings.facade || settings.admin.is_none());
    #[cfg(feature = "admin")]
    let (out, admin) = ways_out(&registry, &health, &settings, facade)?;
    #[cfg(not(feature = "admin"))]
    let out: Out = Box::<Batch>::default();
    let out: Out = if settings.test { Box::new(()) } else { out };

    let mut threads = Threads::default();
    #[cfg(feature = "admin")]
    {
        threads.admin = admin;
    }
    if settings.on
        && let Err(error) = threads.start(&registry, settings, facade, out)
    {
        // What did start stops with the handle.
        drop(StallDetector::new(registry, health, threads, tick));
        return Err(error);
    }
    let detector = StallDetector::new(registry, health, threads, tick);
    if let Some(runtime) = &runtime {
        detector.arm(runtime);
    }
    if let Some(runtime) = &main {
        // Last: the calling thread is watched from then on.
        ticker::wait_for_map(detector.registry(), runtime);
    }
    Ok(detector)
}

impl Threads {
    fn start(
        &mut self,
        registry: &Arc<Registry>,
        settings: Settings,
        facade: bool,
        out: Out,
    ) -> Result<(), BuildError> {
        let watchdog = WatchdogSettings {
            scan_interval: nanos(settings.scan_interval()),
            tick_interval: settings.tick_interval,
            idle_interval: nanos(settings.idle_interval),
            patience: Patience {
                dead_after: nanos(settings.dead_after),
                unready_after: nanos(settings.unready_after),
                ready_after: nanos(settings.ready_after),
                shed_after: nanos(settings.shed_after),
            },
            rescue: settings.rescue,
        };
        if settings.capture() != Capture::Off {
            let sampler = Sampler::spawn(settings.capture(), Arc::clone(&registry.vitals));
            let sampler = sampler.map_err(|source| not_started("stall-capture", source))?;
            self.sampler = Some(Arc::new(sampler));
        }
        let sites = settings.max_sites;
        let ways = ReportWays { facade, log_check: settings.log_check && !settings.test };
        let (reports, reporter) = Reporter::new(Arc::clone(registry), settings.hooks, ways);
        self.reporter = Some(spawn("stall-reporter", move || reporter.run())?);
        let watching = reports.watching();
        let mut stacks = None;
        if let Some(sampler) = self.sampler.clone() {
            let stack_settings = StackSettings {
                own: OwnCode::new(settings.site_skips, settings.site_owns),
                hint: hints,
                symbols: settings.symbols,
                cpu_percent: settings.capture_cpu_percent as u64,
                lock_holders: settings.lock_holders,
            };
            let (taken, symbolizer) = Stacks::new(sampler, stack_settings);
            self.symbolizer = Some(spawn("stall-symbols", move || symbolizer.run(watching))?);
            stacks = Some(taken);
        } else {
            let off = if cfg!(feature = "capture") {
                "the mode is off"
            } else {
                "the feature `capture` is not built in"
            };
            watching(StackDetail::Nothing(off));
        }
        let tick = watchdog.tick_interval;
        let mut pipeline = Pipeline::new(Arc::clone(registry), reports, out, (tick, sites), stacks);
        let stop = Arc::clone(&self.stop);
        let registry = Arc::clone(registry);
        let watch =
            move || watchdog::run(registry, watchdog, |events| pipeline.consume(events), &stop);
        self.watchdog = Some(spawn("stall-watchdog", watch)?);
        Ok(())
    }
}

fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<OwnedThread, BuildError> {
    OwnedThread::spawn(name, run).map_err(|source| not_started(name, source))
}

fn not_started(name: &'static str, source: io::Error) -> BuildError {
    BuildError::Thread { name: name.into(), source }
}

/// Exactly one way out: the page of `/metrics`, or the facade.
#[cfg(feature = "admin")]
fn ways_out(
    registry: &Arc<Registry>,
    health: &Arc<HealthState>,
    settings: &Settings,
    facade: bool,
) -> Result<(Out, Option<crate::admin::Admin>), BuildError> {
    use std::sync::Mutex;

    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use crate::admin::{Admin, Pages};
    use crate::config::Render;
    use crate::metrics::{Direct, Gauges, HISTOGRAM_BUCKETS, describe};
    use crate::sync::lock;

    let users = settings.prometheus.clone();
    let Some(address) = settings.admin else {
        return Ok((Box::new(Batch::default()), None));
    };
    let page = |render| Pages {
        render,
        health: Arc::clone(health),
        registry: Arc::clone(registry),
        public: settings.pages_public,
    };
    if facade {
        return Ok((Box::new(Batch::default()), Some(Admin::start(address, page(users), || ())?)));
    }

    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in HISTOGRAM_BUCKETS {
        builder = builder
            .set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
            .expect("the tables of buckets are not empty");
    }
    let recorder = Arc::new(builder.build_recorder());
    describe(&*recorder);
    let (ours, upkeep) = (recorder.handle(), recorder.handle());
    let at_the_end = recorder.handle();
    let (for_gauges, _) = Direct::new(recorder.clone(), || ());
    let (out, seconds) = Direct::new(recorder, move || at_the_end.run_upkeep());
    let of_page = Mutex::new((Gauges::new(Arc::clone(registry)), for_gauges, seconds));
    let render: Render = Arc::new(move || {
        let (gauges, sink, seconds) = &mut *lock(&of_page);
        gauges.show(sink);
        let mut page = users.as_ref().map_or_else(String::new, |users| users());
        if !page.is_empty() && !page.ends_with('\n') {
            page.push('\n');
        }
        page.push_str(&ours.render());
        seconds.render(&mut page);
        page
    });
    let admin = Admin::start(address, page(Some(render)), move || upkeep.run_upkeep())?;
    Ok((Box::new(out), Some(admin)))
}
