//! http and https, with patience: what may pass is tried again until it has lasted too long.
//!
//! The rules are Ignition's (operator notes, "HTTP retries"): 0.1 s before the second attempt, doubled
//! each time up to 5 s; an answer below 500 is final. Ignition tries for ever, which is a boot that hangs
//! and says nothing; here the caller's patience ends it. The retries of the registries' client were not
//! taken: they count attempts, and a server that takes long to start needs time and not attempts.

use std::time::{Duration, Instant};

use kiln_config::action::Remote;
use kiln_registry::{Network, WebRequest};

use super::{Sending, Web};
use crate::Error;

/// Before the second attempt, and at most before any.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

impl Web {
    pub(super) fn http(&self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        let network = Network { attempts: 1, ..self.network_of(remote) };
        let deadline = self.deadline(remote);
        let mut delay = FIRST_DELAY;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let network = within(&network, left);
            let request = WebRequest {
                url: &remote.url,
                headers: &remote.headers,
                patience: Some(left),
                limit,
            };
            match kiln_registry::get(&request, &network) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if !error.is_passing() || left <= delay {
                        return Err(error.into());
                    }
                }
            }
            std::thread::sleep(delay);
            delay = delay.saturating_mul(2).min(LONGEST_DELAY);
        }
    }

    pub(super) fn send_once(&self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
        let plain = Remote { url: sending.url.to_owned(), ..Remote::default() };
        let network = within(&self.network_of(&plain), sending.patience);
        let request = WebRequest {
            url: sending.url,
            headers: sending.headers,
            patience: Some(sending.patience),
            limit: sending.limit,
        };
        let (method, bytes) = (sending.method, sending.bytes);
        Ok(kiln_registry::send(method, &request, sending.media_type, bytes, &network)?)
    }
}

/// A network none of whose waits is longer than what is left.
fn within(network: &Network, left: Duration) -> Network {
    // The HTTP library takes zero for no limit.
    let left = left.max(Duration::from_millis(1));
    Network {
        connect_timeout: network.connect_timeout.min(left),
        response_timeout: network.response_timeout.min(left),
        read_timeout: network.read_timeout.min(left),
        ..network.clone()
    }
}
