//! The network before the system's own: only when something is to be fetched, and gone afterwards.
//!
//! Most configurations need none, so nothing is asked of any network before the first wish. What was set
//! up is taken back when the work is done: the system's own network then starts from nothing, as it
//! would on any other boot.

use std::path::PathBuf;

use kiln_net::{Network, Options, Resolver, resolv_conf};

use super::device_manager::DeviceManager;
use crate::{Error, Programs};

/// The network, once it is wanted.
pub(super) struct Uplink {
    root: PathBuf,
    command_line: String,
    up: Option<(Resolver, Network)>,
}

impl Uplink {
    pub(super) fn new(root: PathBuf, command_line: String) -> Self {
        Self { root, command_line, up: None }
    }

    /// Brings the network up, with the drivers that it needs; does nothing where it is up.
    pub(super) fn want(
        &mut self,
        devices: &mut DeviceManager,
        programs: &mut dyn Programs,
        say: &dyn Fn(&str),
    ) -> Result<(), Error> {
        if self.up.is_some() {
            return Ok(());
        }
        devices.want(programs, say)?;
        let network = kiln_net::up(&self.command_line, &Options::default(), &mut |line| say(line))?;
        for line in resolv_conf(network.leases()).lines() {
            say(line);
        }
        let resolver = Resolver::place(&self.root, network.leases())?;
        self.up = Some((resolver, network));
        Ok(())
    }

    /// Takes it back.
    pub(super) fn down(&mut self, say: &dyn Fn(&str)) {
        let Some((resolver, network)) = self.up.take() else { return };
        let removed = resolver.remove().and_then(|()| network.down());
        if let Err(error) = removed {
            // The system's own network finds what is left, and replaces it.
            say(&Error::from(error).sentence());
        }
    }
}
