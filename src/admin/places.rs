//! Places for connections: so many at a time, and one for whoever comes next.
//!
//! Where none is free, the peer with the most connections loses one: the oldest of those that wait for an
//! answer, or of those whose request is not there yet, of whichever it has more. A peer is an IP address. So
//! whoever opens thousands of connections takes places from itself, and not from a prober elsewhere. On
//! loopback all are one peer; there a connection keeps its place until half as many others have come as
//! there are places, and is answered in its first turn if its request came with it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::runtime::registry::Registry;
use crate::sync::lock;

/// Connections at a time.
const MOST: usize = 256;

/// See the module. Clones share the places.
#[derive(Clone)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    /// Counts what is dropped.
    registry: Arc<Registry>,
}

#[derive(Default)]
struct Taken {
    /// Oldest first, so the numbers ascend.
    places: VecDeque<Taker>,
    peers: HashMap<IpAddr, Peer>,
    last_number: u64,
}

/// How many places a peer has, and in how many of them its request is there.
#[derive(Default)]
struct Peer {
    all: usize,
    asked: usize,
}

struct Taker {
    number: u64,
    peer: IpAddr,
    asked: bool,
    /// Dropped with the entry, which ends the connection.
    _keep: oneshot::Sender<()>,
}

/// The place of one connection, free again when it is dropped.
pub(super) struct Place {
    number: u64,
    places: Places,
}

impl Places {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { taken: Arc::default(), registry }
    }

    /// A place, and what is ready once it is lost to another connection.
    pub(super) fn take(&self, peer: IpAddr) -> (Place, oneshot::Receiver<()>) {
        if lock(&self.taken).places.len() >= MOST {
            self.give_way();
        }
        let (keep, lost) = oneshot::channel();
        let mut taken = lock(&self.taken);
        taken.last_number += 1;
        let number = taken.last_number;
        // A dual-stack socket maps IPv4 addresses to IPv6.
        let peer = peer.to_canonical();
        taken.peers.entry(peer).or_default().all += 1;
        taken.places.push_back(Taker { number, peer, asked: false, _keep: keep });
        (Place { number, places: self.clone() }, lost)
    }

    /// Ends one connection, if there is any.
    pub(super) fn give_way(&self) {
        let mut taken = lock(&self.taken);
        if let Some(index) = taken.next_to_go() {
            taken.remove(index);
            self.count();
        }
    }

    /// Counts a connection that was dropped.
    fn count(&self) {
        self.registry.admin_dropped.fetch_add(1, Relaxed);
    }
}

impl Taken {
    fn next_to_go(&self) -> Option<usize> {
        let most = self.peers.values().map(|peer| peer.all).max()?;
        // Of several with as many, the one that has been there for longest.
        let of_peer = |place: &Taker| self.peers.get(&place.peer).filter(|peer| peer.all == most);
        let found = self.places.iter().find_map(|place| Some((place.peer, of_peer(place)?)));
        let (peer, Peer { all, asked }) = found?;
        let asked = 2 * asked > *all;
        self.places.iter().position(|place| place.asked == asked && place.peer == peer)
    }

    fn remove(&mut self, index: usize) {
        let Some(Taker { peer, asked, .. }) = self.places.remove(index) else { return };
        if let Entry::Occupied(mut count) = self.peers.entry(peer) {
            count.get_mut().all -= 1;
            count.get_mut().asked -= usize::from(asked);
            if count.get().all == 0 {
                count.remove();
            }
        }
    }

    /// The request is there. Once for each place.
    fn has_asked(&mut self, number: u64) {
        let Some(index) = self.index(number) else { return };
        let place = &mut self.places[index];
        place.asked = true;
        if let Some(peer) = self.peers.get_mut(&place.peer) {
            peer.asked += 1;
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.places.binary_search_by_key(&number, |place| place.number).ok()
    }
}

impl Place {
    /// Its request is there. To be called once.
    pub(super) fn has_asked(&self) {
        lock(&self.places.taken).has_asked(self.number);
    }

    /// Counts it as dropped: it took too long.
    pub(super) fn count_as_late(&self) {
        self.places.count();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        if let Some(index) = taken.index(self.number) {
            taken.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;

    use super::*;
    use crate::runtime::registry::LIMITS;

    type Held = (Place, oneshot::Receiver<()>);

    const ATTACKER: [u8; 4] = [10, 0, 0, 66];
    const PROBER: [u8; 4] = [10, 0, 0, 1];

    fn places() -> Places {
        Places::new(Registry::new(LIMITS))
    }

    fn take(places: &Places, peer: [u8; 4]) -> Held {
        places.take(peer.into())
    }

    fn is_lost((_, lost): &mut Held) -> bool {
        lost.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    fn dropped(places: &Places) -> u64 {
        places.registry.admin_dropped.load(Relaxed)
    }

    #[test]
    fn the_oldest_of_the_more_frequent_kind_gives_way() {
        let places = places();
        let mut held: Vec<_> = repeat_with(|| take(&places, ATTACKER)).take(MOST).collect();
        held[0].0.has_asked();
        assert!(!held.iter_mut().any(is_lost), "so many have a place");
        let mut next = take(&places, ATTACKER);
        assert!(is_lost(&mut held[1]), "the second: the first has asked");
        assert!(!is_lost(&mut held[0]) && !is_lost(&mut held[2]) && !is_lost(&mut next));
        drop(held.remove(1));
        assert!(!is_lost(&mut take(&places, ATTACKER)));
        assert!(is_lost(&mut held[1]));
        assert_eq!(dropped(&places), 2);
    }

    #[test]
    fn many_that_wait_for_an_answer_leave_new_ones_the_time_to_ask() {
        let places = places();
        let mut held: Vec<_> = repeat_with(|| take(&places, ATTACKER)).take(MOST).collect();
        held.iter().for_each(|(place, _)| place.has_asked());
        let mut new: Vec<_> = repeat_with(|| take(&places, ATTACKER)).take(MOST / 2).collect();
        assert!(held[..MOST / 2].iter_mut().all(is_lost), "the older half");
        assert!(!held[MOST / 2..].iter_mut().any(is_lost));
        assert!(!new.iter_mut().any(is_lost), "so many come in four turns");
    }

    #[test]
    fn whoever_has_many_takes_places_from_itself() {
        let places = places();
        let mut prober = take(&places, PROBER);
        let mut held: Vec<_> = repeat_with(|| take(&places, ATTACKER)).take(10 * MOST).collect();
        assert!(!is_lost(&mut prober), "the oldest of all, and it has not asked");
        let mut again = take(&places, PROBER);
        held.extend(repeat_with(|| take(&places, ATTACKER)).take(10 * MOST));
        assert!(!is_lost(&mut prober) && !is_lost(&mut again));
        assert_eq!(held.iter_mut().filter_map(|held| (!is_lost(held)).then_some(())).count(), 254);
    }

    #[test]
    fn an_address_is_one_peer_in_both_families() {
        let places = places();
        let mut prober = take(&places, PROBER);
        let families: [IpAddr; 2] =
            [ATTACKER.into(), std::net::Ipv4Addr::from(ATTACKER).to_ipv6_mapped().into()];
        // As one peer it has the most, as two it would have one place each.
        let held: Vec<_> = families.into_iter().map(|peer| places.take(peer)).collect();
        places.give_way();
        assert!(!is_lost(&mut prober));
        drop(held);
    }

    #[test]
    fn a_place_is_free_again() {
        let places = places();
        for _ in 0..10 * MOST {
            drop(take(&places, ATTACKER));
        }
        places.give_way();
        assert_eq!(dropped(&places), 0, "there is none to drop");
        let (place, _lost) = take(&places, ATTACKER);
        place.count_as_late();
        assert_eq!(dropped(&places), 1);
    }
}
