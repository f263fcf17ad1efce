//! Which function carries an action out; nothing else.

use kiln_config::Action;
use kiln_config::action::Contents;
use kiln_config::operation::Text;

use crate::{Error, Surroundings};

impl Surroundings<'_> {
    pub(crate) fn carry_out(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Directory(folder) => self.directory(folder),
            Action::File(file) => self.file(file),
            Action::Link(link) => self.link(link),
            Action::Entity(entity) => self.entity(entity),
            Action::Group(group) => self.group(group),
            Action::User(user) => self.user(user),
            Action::AuthorizedKeys(keys) => self.authorized_keys(keys),
            Action::Unit(unit) => self.unit(unit),
            Action::Systemctl(verb) => self.systemctl(verb),
            Action::Command(command) => self.command(command),
            Action::Hostname(name) => self.set_host_name(name),
            Action::Sysctl(setting) => self.sysctl(setting),
            Action::Module(setting) => self.module(setting),
            Action::Environment(environment) => self.merge_environment(environment),
            Action::Timesyncd(settings) => self.timesyncd(settings),
            Action::Dns(dns) => self.dns(dns),
            Action::SystemdFirstboot(options) => self.systemd_firstboot(options),
            Action::Datasource(datasource) => self.datasource(datasource),
            Action::Git(git) => self.git(git),
            Action::UnpackImage(image) => self.unpack_image(image),
            Action::Luks(luks) => {
                let mut luks = luks.clone();
                if let Some(key) = &luks.key {
                    let bytes = self.contents(key)?;
                    luks.key = Some(Contents { secret: true, ..Contents::bytes(bytes) });
                }
                self.storage.carry_out(&Action::Luks(luks))
            }
            Action::Layout(layout) => {
                let mut layout = layout.clone();
                if let Some(path) = &layout.path {
                    layout.path = Some(Text::Plain(self.text(path)?));
                }
                self.storage.carry_out(&Action::Layout(layout))
            }
            // Who started this tells the address when all is over (`Reporting`); also what failed.
            Action::Report(_) => Ok(()),
            Action::Disk(_)
            | Action::Raid(_)
            | Action::Filesystem(_)
            | Action::KernelArguments(_)
            | Action::Persistence(_)
            | Action::Volume(_) => self.storage.carry_out(action),
        }
    }
}
