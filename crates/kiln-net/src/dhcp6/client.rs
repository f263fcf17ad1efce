//! The client as a state machine (RFC 8415, section 18.2, as far as the lease), without clock or
//! socket, like the one for IPv4. The first server that advertises an address is taken.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::packet::{self, Answer, Kind, Question};
use crate::dhcp::Pace;
use crate::link::Mac;

/// Unanswered requests after which the search begins again.
const REQUESTS: u32 = 4;
/// The number of an exchange has 24 bits.
const EXCHANGE_MASK: u32 = 0xff_ffff;

/// Where the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It looks for a server.
    Soliciting,
    /// It has asked for what a server advertised.
    Requesting {
        /// The address.
        address: Ipv6Addr,
        /// The server's name.
        server: Vec<u8>,
    },
    /// It has an address, and is done.
    Bound(Box<Answer>),
}

/// One link's client.
#[derive(Clone, Debug)]
pub struct Client {
    mac: Mac,
    state: State,
    exchange: u32,
    pace: Pace,
    /// Questions since the state was entered.
    asked: u32,
    /// When the exchange began, and when to ask next.
    began: Duration,
    next: Duration,
}

impl Client {
    /// A client that asks first at `now`. `seed` is random.
    #[must_use]
    pub fn new(mac: Mac, seed: u64, now: Duration) -> Self {
        let mut pace = Pace::new(seed);
        let exchange = pace.draw() & EXCHANGE_MASK;
        Self { mac, state: State::Soliciting, exchange, pace, asked: 0, began: now, next: now }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What was leased, once it is.
    #[must_use]
    pub fn lease(&self) -> Option<&Answer> {
        match &self.state {
            State::Bound(answer) => Some(answer),
            State::Soliciting | State::Requesting { .. } => None,
        }
    }

    /// When it wants to ask next; never once it has an address.
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
            self.enter(State::Soliciting, now);
        }
        let question = match &self.state {
            State::Requesting { address, server } => {
                Question::Request { address: *address, server }
            }
            State::Soliciting | State::Bound(_) => Question::Solicit,
        };
        let elapsed = now.saturating_sub(self.began);
        let message = packet::write(question, self.exchange, self.mac, elapsed);
        self.next = now.saturating_add(self.pace.pause(self.asked));
        self.asked = self.asked.saturating_add(1);
        Some(message)
    }

    /// Takes a message that came on this link; what cannot be meant for this exchange changes nothing.
    pub fn hear(&mut self, now: Duration, message: &[u8]) {
        let Some(answer) = packet::read(message, self.mac) else { return };
        if answer.exchange != self.exchange || self.asked == 0 {
            return;
        }
        match (&self.state, answer.kind, answer.address) {
            (State::Soliciting, Kind::Advertise, Some(address)) => {
                self.enter(State::Requesting { address, server: answer.server }, now);
            }
            (State::Requesting { server, .. }, Kind::Reply, Some(_))
                if *server == answer.server =>
            {
                self.state = State::Bound(Box::new(answer));
            }
            _ => {}
        }
    }

    /// The message that gives the address back.
    #[must_use]
    pub fn release(&self) -> Option<Vec<u8>> {
        let Answer { address, server, .. } = self.lease()?;
        let question = Question::Release { address: (*address)?, server };
        Some(packet::write(question, self.exchange, self.mac, Duration::ZERO))
    }

    /// Every exchange has its own number (section 16.1).
    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.exchange = self.pace.draw() & EXCHANGE_MASK;
        (self.asked, self.began, self.next) = (0, now, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{MAC, address, answer};
    use super::*;

    const AT: Duration = Duration::from_secs(1);

    #[test]
    fn solicit_advertise_request_reply_is_a_lease() {
        let mut client = Client::new(MAC, 7, Duration::ZERO);
        let solicit = client.ask(Duration::ZERO).unwrap();
        assert_eq!((solicit[0], client.ask(AT / 2)), (1, None));
        client.hear(AT, &answer(&solicit, 2, address(), &[]));
        let request = client.ask(AT).unwrap();
        assert_eq!(request[0], 3);
        assert_ne!(request[1..4], solicit[1..4], "the exchange has its old number");
        client.hear(AT, &answer(&request, 7, address(), &[]));
        assert_eq!(client.lease().unwrap().address, Some(address()));
        assert_eq!((client.next(), client.release().unwrap()[0]), (None, 8));
    }

    #[test]
    fn strangers_change_nothing_and_silence_begins_again() {
        let mut client = Client::new(MAC, 7, Duration::ZERO);
        let solicit = client.ask(Duration::ZERO).unwrap();
        let mut other = solicit.clone();
        other[1] ^= 1;
        for (message, why) in [
            (answer(&other, 2, address(), &[]), "another exchange"),
            (answer(&solicit, 7, address(), &[]), "a reply to a search"),
            (answer(&solicit, 2, "fe80::1".parse().unwrap(), &[]), "an impossible address"),
            (answer(&solicit, 2, address(), &[0, 13, 0, 2, 0, 2]), "a refusal"),
        ] {
            client.hear(AT, &message);
            assert_eq!(client.state(), &State::Soliciting, "{why}");
        }
        client.hear(AT, &answer(&solicit, 2, address(), &[]));
        let mut kinds = Vec::new();
        while let Some(next) = client.next().filter(|next| *next < AT * 30) {
            kinds.push(client.ask(next).unwrap()[0]);
        }
        assert_eq!(kinds[..5], [3, 3, 3, 3, 1]);
    }
}
