//! The thread that gives the frames of stacks their names, which takes its time when they are new,
//! finds the site, and reads from a named stack whether a thread is in a poll.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::await_chain::await_chain;
use super::holder_news::HolderNews;
use super::limits::Account;
use super::mode::Symbols;
use super::native::Names;
use super::poll_frame::{gives_away, poll_returns_to};
use super::poll_returns::PollReturns;
use super::proof::PollProof;
use super::raw::{Captured, NoLines, RawHolding};
use super::user_frame::{OwnCode, is_vague, no_site, site};
use crate::clock;
use crate::stall::{
    Awaits, Frame, HeldBy, Hints, HoldingThread, Site, StackDetail, StackNews, StackResult,
};
use crate::sync::AtomicBool;
use crate::vitals::{OwnThread, Vitals};

const THREAD: OwnThread = OwnThread::Symbols;
/// Stacks that wait for their names.
const QUEUE: usize = 32;

/// How many chains of awaits are remembered.
const MOST_SHARED: usize = 64;

/// Better fixes than the cause's own, by the frames inside of the site.
type Hint = fn(&[Arc<Frame>]) -> Hints;

/// What is to be made of stacks.
pub(crate) struct StackSettings {
    pub(crate) own: OwnCode,
    /// Tells better fixes than the cause's own, by the frames inside of the site.
    pub(crate) hint: Hint,
    pub(crate) symbols: Symbols,
    /// The CPU time that stacks may cost, in percent of a core.
    pub(crate) cpu_percent: u64,
    /// Whether the holders of locks are looked for.
    pub(crate) lock_holders: bool,
}

/// A stack without names, and who waits for it.
pub(super) enum Unnamed {
    /// Called with the news on this thread.
    Stall(Captured, Box<dyn FnMut(StackNews) + Send>),
    PollProof(Captured, Arc<PollProof>),
    /// Who has what a thread waits for.
    Holding(RawHolding, HolderNews),
}

/// Names stacks until all senders of its queue are gone: those of the watchdog, and of stacks that
/// are being taken for it.
#[derive(Debug)]
pub(crate) struct Symbolizer {
    queue: Receiver<Unnamed>,
    symbols: Names,
    hint: Hint,
    /// What is left out of the names of files.
    directory: Option<PathBuf>,
    /// The last chains of awaits, which the next stalls may share.
    chains: VecDeque<Arc<Awaits>>,
    returns: Arc<PollReturns>,
    cpu_time: Account,
    vitals: Arc<Vitals>,
}

impl Symbolizer {
    /// `stops` is set when the detector stops: what waits then is named without rests.
    pub(super) fn new(
        StackSettings { own, hint, symbols, .. }: StackSettings,
        stops: Arc<AtomicBool>,
        (cpu_time, vitals): (Account, Arc<Vitals>),
        returns: Arc<PollReturns>,
    ) -> (SyncSender<Unnamed>, Self) {
        let (sender, queue) = sync_channel(QUEUE);
        let directory = std::env::current_dir().ok();
        let symbols = Names::new(symbols, own, stops);
        (
            sender,
            Self {
                queue,
                symbols,
                hint,
                directory,
                chains: VecDeque::new(),
                returns,
                cpu_time,
                vitals,
            },
        )
    }

    /// What is read here is debug information of any origin, by parsers of others: one that panics
    /// ends the work on this stack and no other.
    ///
    /// `told` is called once, with what frames show.
    pub(crate) fn run(mut self, told: impl FnOnce(StackDetail)) {
        let (cpu_time, vitals) = (Arc::clone(&self.cpu_time), Arc::clone(&self.vitals));
        let life = vitals.begin(THREAD);
        let detail = vitals.work(THREAD, || self.symbols.detail());
        told(detail.unwrap_or(StackDetail::Functions(NoLines::Unreadable.as_str())));
        while let Ok(unnamed) = self.queue.recv() {
            match unnamed {
                Unnamed::Stall(captured, mut news) => {
                    let mut located = |site, hints| news(StackNews::Located(site, hints));
                    let name = || self.name(captured, &mut located);
                    let result = cpu_time.charged(|| vitals.work(THREAD, name));
                    let missing = "the reader of debug information panicked";
                    let result = result.unwrap_or_else(|| StackResult::missing(missing));
                    vitals.work(THREAD, || news(StackNews::Named(result)));
                }
                Unnamed::Holding(holding, news) => {
                    let name = || vitals.work(THREAD, || self.held_by(holding));
                    if let Some(held_by) = cpu_time.charged(name) {
                        vitals.work(THREAD, || news.tell(held_by));
                    }
                }
                Unnamed::PollProof(captured, proof) => {
                    cpu_time.charged(|| vitals.work(THREAD, || self.prove(captured, &proof)));
                    // Unless there is an answer.
                    proof.not_shown();
                }
            }
            if vitals.is_spent(THREAD) {
                return;
            }
        }
        life.end();
    }

    /// Is the thread in a poll, and in the same one from now on?
    fn prove(&mut self, captured: Captured, proof: &PollProof) {
        let Some(raw) = captured.stack.clone() else { return };
        let result = self.name(captured, &mut |_, _| {});
        let Some(stack) = &result.stack else { return };
        match poll_returns_to(stack, proof.single) {
            Err(_) if !stack.partial || gives_away(&stack.frames) => proof.not_held(),
            Err(_) => {}
            Ok(returns_to) => {
                self.returns.learn(&raw, returns_to, proof.single);
                let (since, returns) = match proof.counted(returns_to) {
                    Some((since, returns)) => (since, Some(returns)),
                    None => {
                        let count = || self.returns.count(proof.thread, returns_to);
                        let returns = proof.counts.then(count).flatten();
                        (clock::now(), returns)
                    }
                };
                proof.held(since, result, returns_to, returns);
            }
        }
    }

    fn held_by(&mut self, holding: RawHolding) -> HeldBy {
        let mut held_by = HeldBy::new(holding.holder, holding.degree);
        held_by.threads_left_out = holding.threads_left_out;
        for holder in holding.threads {
            let thread = holder.stack.thread;
            let has_frames = !holder.stack.frames.is_empty();
            let result = self.name(Captured::stack(holder.stack), &mut |_, _| {});
            held_by.threads.push(HoldingThread {
                thread,
                name: holder.name,
                role: holder.role,
                handler: holder.handler.map(Into::into),
                site: result.site,
                waits_in: holder.waits_in,
                stack: result.stack.filter(|_| has_frames),
            });
        }
        held_by
    }

    /// `located` is called once, if there is a site: before the frames outside of it have names.
    fn name(&mut self, captured: Captured, located: &mut dyn FnMut(Site, Hints)) -> StackResult {
        let Self { symbols, hint, directory, chains, .. } = self;
        let find = |frames: &[Arc<Frame>]| {
            let (inner, mut site) = site(frames)?;
            if let Some(directory) = &*directory {
                site.leave_out(directory);
            }
            Ok((site, hint(&frames[..inner])))
        };
        let Some(raw) = captured.stack else {
            return StackResult { may_come: true, ..StackResult::missing(captured.reason) };
        };
        let (stack, no_lines) = symbols.symbolize(&raw, |frames| match find(frames) {
            Ok((site, hints)) if !is_vague(&site) => {
                located(site, hints);
                true
            }
            _ => false,
        });
        let partial = (!captured.reason.is_empty()).then_some(captured.reason);
        let (site, no_site, hints) = match find(&stack.frames) {
            Ok((site, hints)) => (Some(site), None, hints),
            Err(why) => {
                (None, Some(no_site(why, partial, no_lines.is_none())), hint(&stack.frames))
            }
        };
        let chain = await_chain(&stack, no_lines.is_none(), directory.as_deref());
        let awaits = chain.map(|chain| shared(chains, chain));
        let missing = partial.or(no_lines.map(NoLines::as_str));
        StackResult {
            site,
            no_site,
            hints,
            given: raw.given,
            stack: Some(Arc::new(stack)),
            awaits,
            missing,
            ..StackResult::default()
        }
    }
}

/// The same chain as one of the last stalls has, if there is one.
fn shared(last: &mut VecDeque<Arc<Awaits>>, chain: Awaits) -> Arc<Awaits> {
    if let Some(known) = last.iter().find(|known| ***known == chain) {
        return Arc::clone(known);
    }
    if last.len() >= MOST_SHARED {
        last.pop_front();
    }
    let chain = Arc::new(chain);
    last.push_back(Arc::clone(&chain));
    chain
}

impl std::fmt::Debug for Unnamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unnamed").finish_non_exhaustive()
    }
}
