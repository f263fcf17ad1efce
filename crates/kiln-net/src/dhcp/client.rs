//! The client as a state machine (RFC 2131, section 4.4, figure 5, as far as the lease).
//!
//! It has no clock and no socket: time is what the caller says has passed, a message is bytes in or
//! out. So each path, hostile ones included, is a test without waiting.
//!
//! ```text
//! Selecting --offer--> Requesting --acknowledged--> Bound
//!     ^                    |
//!     +-refused, no answer-+
//! ```
//!
//! The first offer is taken: waiting for better ones would cost every boot the wait.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lease::Lease;
use super::options::number;
use super::pace::Pace;
use super::packet::{self, Envelope, Kind, Question};
use crate::link::Mac;

/// Unanswered requests after which the search begins again: 15 s, in which a server that lives answers.
const REQUESTS: u32 = 4;
/// Unanswered questions after which answers by broadcast are asked for: bridges of some hypervisors
/// drop unicast to an address that they have not seen.
const UNANSWERED_BEFORE_BROADCAST: u32 = 2;

/// Where the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It looks for a server.
    Selecting,
    /// It has asked for what a server offered.
    Requesting {
        /// The address that was offered.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// It has a lease, and is done.
    Bound(Lease),
}

/// One link's client.
#[derive(Clone, Debug)]
pub struct Client {
    mac: Mac,
    hostname: Option<String>,
    state: State,
    exchange: u32,
    pace: Pace,
    /// Questions since the state was entered.
    asked: u32,
    /// Questions at all that nobody answered.
    unanswered: u32,
    /// When to ask next, from the beginning.
    next: Duration,
}

impl Client {
    /// A client that has not asked yet. `seed` is random: machines that start together must not ask
    /// together, and nobody may guess the number of an exchange from outside of the wire.
    #[must_use]
    pub fn new(mac: Mac, hostname: Option<String>, seed: u64) -> Self {
        let mut client = Self {
            mac,
            hostname,
            state: State::Selecting,
            exchange: 0,
            pace: Pace::new(seed),
            asked: 0,
            unanswered: 0,
            next: Duration::ZERO,
        };
        client.exchange = client.pace.draw();
        client
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The lease, once there is one.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease) => Some(lease),
            State::Selecting | State::Requesting { .. } => None,
        }
    }

    /// When it wants to ask next, from the beginning; never once it has a lease.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.lease().is_none().then_some(self.next)
    }

    /// The question to send now, if it is time for one.
    pub fn ask(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        if matches!(self.state, State::Requesting { .. }) && self.asked >= REQUESTS {
            self.start_again();
        }
        let question = match self.state {
            State::Requesting { address, server } => Question::Request { address, server },
            State::Selecting | State::Bound(_) => Question::Discover,
        };
        let message = packet::write(question, &self.envelope(now));
        self.next = now.saturating_add(self.pace.pause(self.asked));
        self.asked = self.asked.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        Some(message)
    }

    /// Takes a message that came on this link. What is not for this exchange, or not what can come
    /// now, changes nothing.
    pub fn hear(&mut self, now: Duration, message: &[u8]) {
        let Some(answer) = packet::read(message) else { return };
        if answer.exchange != self.exchange || answer.mac != self.mac {
            return;
        }
        match (&self.state, answer.kind) {
            (State::Selecting, Kind::Offer) if self.asked > 0 => {
                let Some(lease) = Lease::from_answer(&answer) else { return };
                self.state = State::Requesting { address: lease.address, server: lease.server };
                (self.asked, self.unanswered, self.next) = (0, 0, now);
            }
            (State::Requesting { address, server }, Kind::Acknowledge) => {
                let lease = Lease::from_answer(&answer);
                let is_agreed =
                    |lease: &Lease| lease.address == *address && lease.server == *server;
                if let Some(lease) = lease.filter(is_agreed) {
                    self.state = State::Bound(lease);
                }
            }
            (State::Requesting { server, .. }, Kind::Refuse)
                if answer.options.address(number::SERVER) == Some(*server) =>
            {
                self.start_again();
                // Not at once: a server that refuses everything must not be flooded.
                self.next = now.saturating_add(self.pace.pause(self.asked));
            }
            _ => {}
        }
    }

    /// The message that gives the lease back, and the server that it is for.
    #[must_use]
    pub fn release(&self) -> Option<(Ipv4Addr, Ipv4Addr, Vec<u8>)> {
        let Lease { address, server, .. } = *self.lease()?;
        let envelope =
            Envelope { broadcast: false, hostname: None, ..self.envelope(Duration::ZERO) };
        Some((address, server, packet::write(Question::Release { address, server }, &envelope)))
    }

    fn envelope(&self, now: Duration) -> Envelope<'_> {
        Envelope {
            exchange: self.exchange,
            mac: self.mac,
            seconds: u16::try_from(now.as_secs()).unwrap_or(u16::MAX),
            broadcast: self.unanswered >= UNANSWERED_BEFORE_BROADCAST,
            hostname: self.hostname.as_deref(),
        }
    }

    fn start_again(&mut self) {
        self.state = State::Selecting;
        self.exchange = self.pace.draw();
        self.asked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::LONGEST_PAUSE;
    use super::super::packet::tests::{MAC, answer};
    use super::*;
    use proptest::prelude::*;

    const SERVER: [u8; 6] = [54, 4, 192, 0, 2, 1];
    const OTHER: [u8; 6] = [54, 4, 192, 0, 2, 66];
    const ADDRESS: [u8; 4] = [192, 0, 2, 9];

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn started() -> (Client, Vec<u8>) {
        let mut client = Client::new(MAC, Some("edge".into()), 7);
        let question = client.ask(Duration::ZERO).unwrap();
        (client, question)
    }

    /// The kind of a client's message: the first option.
    fn kind(message: &[u8]) -> u8 {
        message[242]
    }

    #[test]
    fn offer_request_acknowledge_is_a_lease() {
        let (mut client, question) = started();
        assert_eq!(kind(&question), 1);
        assert_eq!(client.ask(Duration::from_millis(500)), None);
        client.hear(at(1), &answer(&question, 2, ADDRESS, &SERVER));
        let request = client.ask(at(1)).unwrap();
        assert_eq!((kind(&request), &request[4..8]), (3, &question[4..8]));
        client.hear(at(1), &answer(&request, 5, ADDRESS, &SERVER));
        assert_eq!(client.lease().unwrap().address, Ipv4Addr::from(ADDRESS));
        assert_eq!((client.next(), client.ask(at(100))), (None, None));
        let (from, to, release) = client.release().unwrap();
        assert_eq!((from, to), (ADDRESS.into(), [192, 0, 2, 1].into()));
        assert_eq!(kind(&release), 7);
        // Nothing takes a lease away again.
        client.hear(at(2), &answer(&request, 6, ADDRESS, &SERVER));
        assert!(client.lease().is_some());
    }

    #[test]
    fn questions_become_rarer_and_are_spread() {
        let mut times = Vec::new();
        let mut client = Client::new(MAC, None, 7);
        while let Some(next) = client.next().filter(|next| *next < at(60)) {
            let message = client.ask(next).unwrap();
            let is_broadcast = message[10] == 0x80;
            assert_eq!(is_broadcast, times.len() >= 2);
            times.push(next);
        }
        assert!((6..=9).contains(&times.len()), "{times:?}");
        let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (pause, whole) in pauses.iter().zip([1, 2, 4, 8, 16, 16, 16]) {
            assert!(*pause >= at(whole) * 3 / 4 && *pause <= at(whole) * 5 / 4, "{pauses:?}");
        }
        let other = Client::new(Mac([0; 6]), None, 1 << 40);
        assert_ne!(other.exchange, client.exchange);
    }

    #[test]
    fn strangers_change_nothing() {
        let (client, question) = started();
        let with = |change: fn(&mut Vec<u8>)| {
            let mut message = answer(&question, 2, ADDRESS, &SERVER);
            change(&mut message);
            message
        };
        for (message, why) in [
            (with(|message| message[7] ^= 1), "another exchange"),
            (with(|message| message[33] ^= 1), "another machine"),
            (with(|message| message[236] = 0), "no cookie"),
            (answer(&question, 5, ADDRESS, &SERVER), "an acknowledgement of nothing"),
            (answer(&question, 6, ADDRESS, &SERVER), "a refusal of nothing"),
            (answer(&question, 2, [127, 0, 0, 1], &SERVER), "an impossible address"),
            (answer(&question, 2, ADDRESS, &[]), "no server"),
        ] {
            let mut client = client.clone();
            client.hear(at(1), &message);
            assert_eq!(client.state(), &State::Selecting, "{why}");
        }
        let mut silent = Client::new(MAC, None, 7);
        silent.hear(at(1), &answer(&question, 2, ADDRESS, &SERVER));
        assert_eq!(silent.state(), &State::Selecting, "an offer before the question");
    }

    #[test]
    fn only_the_chosen_server_answers_a_request() {
        let (mut client, question) = started();
        client.hear(at(1), &answer(&question, 2, ADDRESS, &SERVER));
        let request = client.ask(at(1)).unwrap();
        for (message, why) in [
            (answer(&request, 5, [192, 0, 2, 10], &SERVER), "another address"),
            (answer(&request, 5, ADDRESS, &OTHER), "another server"),
            (answer(&request, 6, ADDRESS, &OTHER), "another server's refusal"),
            (answer(&request, 2, ADDRESS, &OTHER), "a late offer"),
        ] {
            let mut client = client.clone();
            client.hear(at(1), &message);
            assert!(matches!(client.state(), State::Requesting { .. }), "{why}");
        }
        client.hear(at(2), &answer(&request, 6, [0; 4], &SERVER));
        assert_eq!(client.state(), &State::Selecting);
        assert_eq!(client.ask(at(2)), None, "the next question comes at once");
        let again = client.ask(at(4)).unwrap();
        assert_eq!(kind(&again), 1);
        assert_ne!(again[4..8], request[4..8], "the exchange has its old number");
    }

    #[test]
    fn a_server_that_falls_silent_is_given_up() {
        let (mut client, question) = started();
        client.hear(at(1), &answer(&question, 2, ADDRESS, &SERVER));
        let mut kinds = Vec::new();
        while let Some(next) = client.next().filter(|next| *next < at(30)) {
            kinds.push(kind(&client.ask(next).unwrap()));
        }
        assert_eq!(kinds[..5], [3, 3, 3, 3, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_leave_a_client_that_goes_on(
            seed in any::<u64>(),
            messages in prop::collection::vec(
                (2_u8..7, any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let mut client = Client::new(MAC, None, seed);
            let mut now = Duration::ZERO;
            let mut question = client.ask(now).unwrap();
            for (kind, address, options) in messages {
                let options = [&SERVER[..], &options].concat();
                client.hear(now, &answer(&question, kind, address, &options));
                let Some(next) = client.next() else { break };
                prop_assert!(next <= now + LONGEST_PAUSE * 2);
                now = now.max(next);
                question = client.ask(now).unwrap();
            }
            if let Some(lease) = client.lease() {
                prop_assert!(super::super::lease::is_usable(lease.address) && lease.prefix <= 32);
            }
        }
    }
}
