//! The network while it is up: what it gave, and the way back.

use std::time::{Duration, Instant};

use crate::Error;
use crate::arguments::{Method, Wishes};
use crate::kernel::Kernel;
use crate::leases::Leases;
use crate::plan;
use crate::run::Run;

/// How long is waited; the command line can say otherwise for two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Until a link is there: drivers and firmware of network cards load while the machine starts.
    pub first_link: Duration,
    /// Until a wire has something at its other end (`rd.net.timeout.carrier=`); a switch that checks
    /// for loops takes up to 30 s.
    pub carrier: Duration,
    /// From then until there is an address (`rd.net.timeout.dhcp=`).
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            first_link: Duration::from_secs(10),
            carrier: Duration::from_secs(30),
            limit: Duration::from_secs(60),
        }
    }
}

/// The network that [`up`] made. What it changed is taken back by [`Network::down`], or when it is
/// dropped.
#[must_use = "the network goes away when this is dropped"]
#[derive(Debug)]
pub struct Network {
    kernel: Kernel,
    leases: Leases,
    is_kept: bool,
}

/// Brings the network up as `command_line` (the content of `/proc/cmdline`) wants it, and tells
/// `say` what happens. On failure all changes are taken back.
///
/// # Errors
/// The command line is wrong or forbids it; no link, carrier or address within the time; the kernel's
/// answers.
pub fn up(
    command_line: &str,
    options: &Options,
    say: &mut dyn FnMut(&str),
) -> Result<Network, Error> {
    let wishes = Wishes::parse(command_line)?;
    let options = Options {
        first_link: options.first_link,
        carrier: wishes.carrier.unwrap_or(options.carrier),
        limit: wishes.limit.unwrap_or(options.limit),
    };
    let links = plan::links_of(&wishes);
    if links.iter().all(|link| link.method == Method::Off) {
        return Err(Error::SwitchedOff { argument: "ip=<link>:off".into() });
    }
    let mut kernel = Kernel::open()?;
    let run = Run::new(&mut kernel, &wishes, &links, &options, Instant::now(), say)?;
    match run.finish() {
        Ok(leases) => Ok(Network { kernel, leases, is_kept: wishes.keeps }),
        Err(error) => {
            // The reason matters, not what comes of it.
            let _ = kernel.undo();
            Err(error)
        }
    }
}

impl Network {
    /// What the network gave.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Whether the command line wants it to stay (`kiln.net.keep`).
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Gives leases back, removes addresses, routes and VLANs, and leaves links as they were found;
    /// does nothing where the command line wants it to stay.
    ///
    /// # Errors
    /// The first refusal of the kernel; everything else is taken back all the same.
    pub fn down(mut self) -> Result<(), Error> {
        if self.is_kept {
            self.kernel.keep();
        }
        self.kernel.undo()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.is_kept {
            self.kernel.keep();
        }
        let _ = self.kernel.undo();
    }
}
