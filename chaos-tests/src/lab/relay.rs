//! A relay for the datagrams between two nodes that can cut, delay and lose them, each way on its own.
//!
//! Each of the two nodes is told that the other one listens at the relay. Needs no rights on the machine, and what it
//! drops it drops from one moment to the next, without a word to either end, as a cut cable does. It never reorders on
//! purpose: datagrams of one direction that are delayed alike stay in order.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// How often a waiting thread looks whether the relay ends.
const LOOK: Duration = Duration::from_millis(50);
/// Source addresses of one node that are told apart; a node that dials anew may come from another port.
const SOURCES_MAX: usize = 256;
/// Loss is counted in parts of a million.
const MILLION: u64 = 1_000_000;

/// One of the two ways through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the first node to the second.
    There,
    /// From the second node to the first.
    Back,
}

/// What happens to datagrams on one way.
#[derive(Debug, Default)]
struct Lane {
    cut: AtomicBool,
    delay_us: AtomicU64,
    loss_ppm: AtomicU64,
    passed: AtomicU64,
    dropped: AtomicU64,
}

/// A relay between two nodes; ends with its value.
#[derive(Debug)]
pub struct Relay {
    /// Where the first node finds the second.
    second: SocketAddr,
    /// Where the second node finds the first.
    first: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    lanes: [Lane; 2],
    stop: AtomicBool,
    chance: Mutex<StdRng>,
    later: Mutex<Option<Sender<Delayed>>>,
}

/// A datagram that waits.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    way: Way,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Relay {
    /// A relay between the nodes that listen at these addresses. `seed` decides which datagrams are lost.
    ///
    /// # Errors
    /// No port is free.
    pub fn between(first: SocketAddr, second: SocketAddr, seed: u64) -> anyhow::Result<Relay> {
        let (later, delayed) = channel();
        let shared = Arc::new(Shared {
            lanes: [Lane::default(), Lane::default()],
            stop: AtomicBool::new(false),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            later: Mutex::new(Some(later)),
        });
        let (for_first, for_second) = (bind()?, bind()?);
        let relay = Relay {
            second: for_first.local_addr()?,
            first: for_second.local_addr()?,
            threads: vec![
                spawn(&shared, move |shared| deliver_later(&delayed, &shared)),
                spawn(&shared, move |shared| serve(for_first, second, Way::There, &shared)),
                spawn(&shared, move |shared| serve(for_second, first, Way::Back, &shared)),
            ],
            shared,
        };
        Ok(relay)
    }

    /// Where the first node finds the second one.
    pub fn address_of_second(&self) -> SocketAddr {
        self.second
    }

    /// Where the second node finds the first one.
    pub fn address_of_first(&self) -> SocketAddr {
        self.first
    }

    /// Drops everything, both ways.
    pub fn cut(&self) {
        self.cut_one_way(Way::There);
        self.cut_one_way(Way::Back);
    }

    /// Drops everything on one way.
    pub fn cut_one_way(&self, way: Way) {
        self.shared.lane(way).cut.store(true, Ordering::SeqCst);
    }

    /// Ends every cut.
    pub fn heal(&self) {
        for lane in &self.shared.lanes {
            lane.cut.store(false, Ordering::SeqCst);
        }
    }

    /// Delays what passes from now on.
    pub fn delay(&self, way: Way, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.shared.lane(way).delay_us.store(micros, Ordering::SeqCst);
    }

    /// Loses this share of what comes from now on, 0 to 1.
    pub fn lose(&self, way: Way, share: f64) {
        let parts = (share.clamp(0.0, 1.0) * MILLION as f64) as u64;
        self.shared.lane(way).loss_ppm.store(parts, Ordering::SeqCst);
    }

    /// Datagrams passed and dropped on one way so far.
    pub fn counts(&self, way: Way) -> (u64, u64) {
        let lane = self.shared.lane(way);
        (lane.passed.load(Ordering::SeqCst), lane.dropped.load(Ordering::SeqCst))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.later.lock().unwrap_or_else(PoisonError::into_inner).take());
        for thread in self.threads.drain(..) {
            // One that panicked has said so on standard error.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn lane(&self, way: Way) -> &Lane {
        &self.lanes[usize::from(way == Way::Back)]
    }

    fn has_ended(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Passes a datagram on, now or later, or drops it.
    fn pass(&self, way: Way, socket: &Arc<UdpSocket>, to: SocketAddr, bytes: &[u8]) {
        let lane = self.lane(way);
        let loss = lane.loss_ppm.load(Ordering::SeqCst);
        let is_lost = loss > 0 && {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            chance.random_range(0..MILLION) < loss
        };
        if is_lost || lane.cut.load(Ordering::SeqCst) {
            lane.dropped.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let delay = lane.delay_us.load(Ordering::SeqCst);
        if delay == 0 {
            return self.send(way, socket, to, bytes);
        }
        let due = Instant::now() + Duration::from_micros(delay);
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(later) = &*later {
            // The other end ends only when this relay does.
            let _ended = later.send(Delayed { due, way, socket: Arc::clone(socket), to, bytes: bytes.to_vec() });
        }
    }

    fn send(&self, way: Way, socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
        let lane = self.lane(way);
        lane.passed.fetch_add(1, Ordering::SeqCst);
        if socket.send_to(bytes, to).is_err() {
            // A node that does not listen is like one that is away.
            lane.passed.fetch_sub(1, Ordering::SeqCst);
            lane.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn bind() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the relay")?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

fn spawn(shared: &Arc<Shared>, work: impl FnOnce(Arc<Shared>) + Send + 'static) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || work(shared))
}

/// Takes what a node sends to where it believes the other one to be. Each of its source addresses gets a socket of its
/// own towards the other node, by which that one answers.
fn serve(front: UdpSocket, target: SocketAddr, way: Way, shared: &Arc<Shared>) {
    let front = Arc::new(front);
    let mut onward: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut threads = Vec::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !shared.has_ended() {
        let Ok((length, source)) = front.recv_from(&mut buffer) else { continue };
        if !onward.contains_key(&source) {
            if onward.len() >= SOURCES_MAX {
                shared.lane(way).dropped.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let Ok(socket) = bind().map(Arc::new) else { continue };
            let (back, answers) = (Arc::clone(&front), Arc::clone(&socket));
            threads.push(spawn(shared, move |shared| answer(&answers, &back, source, way, &shared)));
            onward.insert(source, socket);
        }
        shared.pass(way, &onward[&source], target, &buffer[..length]);
    }
    for thread in threads {
        let _ended = thread.join();
    }
}

/// Takes the other node's answers back.
fn answer(answers: &UdpSocket, front: &Arc<UdpSocket>, source: SocketAddr, way: Way, shared: &Shared) {
    let back = if way == Way::There { Way::Back } else { Way::There };
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !shared.has_ended() {
        let Ok((length, _)) = answers.recv_from(&mut buffer) else { continue };
        shared.pass(back, front, source, &buffer[..length]);
    }
}

/// Sends delayed datagrams when they are due, in the order of their time.
fn deliver_later(delayed: &Receiver<Delayed>, shared: &Shared) {
    let mut waiting: BTreeMap<(Instant, u64), Delayed> = BTreeMap::new();
    let mut number = 0;
    loop {
        let now = Instant::now();
        while let Some(entry) = waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let datagram = entry.remove();
            shared.send(datagram.way, &datagram.socket, datagram.to, &datagram.bytes);
        }
        let pause = waiting.first_key_value().map_or(LOOK, |((due, _), _)| due.saturating_duration_since(now));
        match delayed.recv_timeout(pause) {
            Ok(datagram) => {
                number += 1;
                waiting.insert((datagram.due, number), datagram);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends that talk through a relay.
    struct Pair {
        first: UdpSocket,
        second: UdpSocket,
        relay: Relay,
    }

    fn pair() -> Pair {
        let end = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let (first, second) = (end(), end());
        let relay = Relay::between(first.local_addr().unwrap(), second.local_addr().unwrap(), 7).unwrap();
        Pair { first, second, relay }
    }

    fn take(socket: &UdpSocket) -> (u8, SocketAddr) {
        let mut buffer = [0; 8];
        let (_, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[0], from)
    }

    #[test]
    fn each_end_reaches_the_other_and_is_answered() {
        let Pair { first, second, relay } = pair();
        first.send_to(&[1], relay.address_of_second()).unwrap();
        let (byte, from) = take(&second);
        assert_eq!(byte, 1);
        second.send_to(&[2], from).unwrap();
        assert_eq!(take(&first), (2, relay.address_of_second()), "an answer comes from where the question went");
        second.send_to(&[3], relay.address_of_first()).unwrap();
        assert_eq!(take(&first).0, 3);
        assert_eq!((relay.counts(Way::There), relay.counts(Way::Back)), ((1, 0), (2, 0)));
    }

    #[test]
    fn one_way_is_cut_while_the_other_passes() {
        let Pair { first, second, relay } = pair();
        first.send_to(&[1], relay.address_of_second()).unwrap();
        let (_, from) = take(&second);
        relay.cut_one_way(Way::There);
        first.send_to(&[2], relay.address_of_second()).unwrap();
        second.send_to(&[3], from).unwrap();
        assert_eq!(take(&first).0, 3, "an answer passes by the way that is open");
        while relay.counts(Way::There).1 == 0 {
            std::thread::yield_now();
        }
        relay.heal();
        first.send_to(&[4], relay.address_of_second()).unwrap();
        assert_eq!(take(&second).0, 4, "what was dropped does not come later");
    }

    #[test]
    fn delay_keeps_the_order_and_loss_has_its_share() {
        let Pair { first, second, relay } = pair();
        relay.delay(Way::There, Duration::from_millis(80));
        let begin = Instant::now();
        for byte in 1..=3 {
            first.send_to(&[byte], relay.address_of_second()).unwrap();
        }
        assert_eq!([take(&second).0, take(&second).0, take(&second).0], [1, 2, 3]);
        assert!(begin.elapsed() >= Duration::from_millis(80), "{:?}", begin.elapsed());

        relay.delay(Way::There, Duration::ZERO);
        relay.lose(Way::There, 0.5);
        let before = relay.counts(Way::There);
        for _ in 0..400 {
            first.send_to(&[9], relay.address_of_second()).unwrap();
            std::thread::yield_now();
        }
        let counted = || {
            let (passed, dropped) = relay.counts(Way::There);
            (passed - before.0, dropped - before.1)
        };
        // The kernel may drop some of a burst, but not half of them.
        while counted().0 + counted().1 < 200 {
            std::thread::yield_now();
        }
        let (passed, dropped) = counted();
        let share = dropped as f64 / (passed + dropped) as f64;
        assert!((0.35..0.65).contains(&share), "{dropped} of {} were lost", passed + dropped);
    }
}
