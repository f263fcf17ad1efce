//! Units: written, enabled, disabled, masked, started.
//!
//! All but the last is a matter of files and links in `/etc/systemd/system` (systemd.unit(5)) and needs
//! no running systemd. On the running system systemd is told to read them again before it starts one.

mod enable;
mod install;

use kiln_config::action::{Systemctl, SystemctlVerb, Unit};

use crate::conditions::SETTINGS_BYTES;
use crate::{Error, Kind, Owner, Surroundings};
use install::Name;

/// The administrator's units.
const OWN: &str = "/etc/systemd/system";
/// All folders of units, in the order in which systemd looks for one.
const FOLDERS: [&str; 5] = [
    OWN,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where the link of a masked unit leads.
const NOTHING: &str = "/dev/null";

impl Surroundings<'_> {
    pub(crate) fn unit(&mut self, unit: &Unit) -> Result<(), Error> {
        let name = parse(&unit.name)?;
        if unit.mask == Some(false) {
            self.unmask(&name)?;
        }
        if let Some(contents) = &unit.contents {
            let text = self.text(contents)?;
            self.settings(&format!("{OWN}/{}", name.whole), &text)?;
        }
        for (drop_in, text) in &unit.dropins {
            if drop_in.contains('/') || !drop_in.ends_with(".conf") {
                let reason = format!("`{drop_in}` is no name of a drop-in");
                return Err(refused(&name.whole, reason));
            }
            let text = self.text(text)?;
            self.settings(&format!("{OWN}/{}.d/{drop_in}", name.whole), &text)?;
        }
        match unit.enabled {
            Some(true) => self.enable(&name)?,
            Some(false) => self.disable(&name)?,
            None => {}
        }
        if unit.mask == Some(true) {
            self.mask(&name)?;
        }
        Ok(())
    }

    pub(crate) fn systemctl(&mut self, wanted: &Systemctl) -> Result<(), Error> {
        let unit = self.text(&wanted.unit)?;
        let unit = unit.trim();
        // As systemctl, a name without suffix is a service.
        let is_whole = Name::parse(unit).is_some();
        let name = parse(&if is_whole { unit.to_owned() } else { format!("{unit}.service") })?;
        match wanted.verb {
            SystemctlVerb::Enable => self.enable(&name),
            SystemctlVerb::Disable => self.disable(&name),
            SystemctlVerb::Mask => self.mask(&name),
            SystemctlVerb::Start => self.start(&name),
        }
    }

    fn start(&mut self, name: &Name) -> Result<(), Error> {
        if !self.is_running {
            let reason = "it cannot be started before the system runs";
            return Err(refused(&name.whole, reason));
        }
        self.program("systemctl daemon-reload", "systemctl", &["daemon-reload"])?;
        let shown = format!("systemctl start {}", name.whole);
        self.program(&shown, "systemctl", &["start", "--", &name.whole])
    }

    /// A unit of this name in `/etc` gives way, as it does for Ignition.
    fn mask(&mut self, name: &Name) -> Result<(), Error> {
        self.root.symlink(&format!("{OWN}/{}", name.whole), NOTHING, Owner::default())
    }

    fn unmask(&mut self, name: &Name) -> Result<(), Error> {
        let path = format!("{OWN}/{}", name.whole);
        if self.root.link_target(&path)?.as_deref() == Some(NOTHING) {
            self.root.remove(&path)?;
        }
        Ok(())
    }

    /// Where the file of a unit is, and its text.
    fn fragment(&self, file: &str) -> Result<Option<(String, String)>, Error> {
        for folder in FOLDERS {
            let path = format!("{folder}/{file}");
            match self.root.target(&path)?.map(|status| status.kind) {
                Some(Kind::File) => {
                    let text = self.root.text(&path, SETTINGS_BYTES)?.unwrap_or_default();
                    return Ok(Some((path, text)));
                }
                // A masked unit is a link to a device.
                Some(_) => return Err(refused(file, "it is masked")),
                None if self.root.link_target(&path)?.as_deref() == Some(NOTHING) => {
                    return Err(refused(file, "it is masked"));
                }
                None => {}
            }
        }
        Ok(None)
    }
}

fn parse(name: &str) -> Result<Name, Error> {
    Name::parse(name).ok_or_else(|| refused(name, "it is no name of a unit"))
}

fn refused(name: &str, reason: impl Into<String>) -> Error {
    let name = name.chars().filter(|letter| !letter.is_control()).take(80).collect();
    Error::Unit { name, reason: reason.into() }
}
