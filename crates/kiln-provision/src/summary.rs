//! An operation in a few words, without anything secret.
//!
//! Names and paths are shown; contents, passwords, keys, headers, scripts and queries of addresses are
//! not, since reports are read by more people than the machine has users. The place in the document
//! says the rest.

use kiln_config::Action;
use kiln_config::action::SystemctlVerb;

/// The words.
#[must_use]
pub fn summary(action: &Action) -> String {
    match action {
        Action::Disk(disk) => format!("partitions of `{}`", disk.device),
        Action::Raid(raid) => format!("array `{}`", raid.name),
        Action::Luks(luks) => format!("encrypted volume `{}`", luks.name),
        Action::Filesystem(system) => format!("file system on `{}`", system.device),
        Action::Layout(_) => "disk layout".into(),
        Action::Directory(folder) => format!("folder `{}`", folder.path.written()),
        Action::File(file) => format!("file `{}`", file.path.written()),
        Action::Link(link) => format!("link `{}`", link.path),
        Action::Entity(entity) if entity.delete => "removal of an account entry".into(),
        Action::Entity(_) => "account entry".into(),
        Action::Group(group) => format!("group `{}`", group.name),
        Action::User(user) => format!("user `{}`", user.name),
        Action::AuthorizedKeys(keys) => format!("keys of `{}`", keys.user.written()),
        Action::Unit(unit) => format!("unit `{}`", unit.name),
        Action::Systemctl(verb) => format!("{} `{}`", word(verb.verb), verb.unit.written()),
        Action::Command(command) => {
            format!("command of {} bytes", command.script.written().len())
        }
        Action::Hostname(name) => format!("host name `{}`", name.written()),
        Action::Sysctl(setting) => format!("kernel parameter `{}`", setting.name),
        Action::Module(setting) => format!("kernel module `{}`", setting.name),
        Action::Environment(environment) => {
            format!("variables in `{}`", environment.file.written())
        }
        Action::Timesyncd(_) => "settings of systemd-timesyncd".into(),
        Action::Dns(_) => "name servers".into(),
        Action::SystemdFirstboot(_) => "systemd-firstboot".into(),
        Action::Datasource(_) => "user data of a cloud".into(),
        Action::Git(git) => format!("git repository in `{}`", git.path),
        Action::UnpackImage(image) => format!("image in `{}`", image.target.written()),
        Action::KernelArguments(_) => "kernel arguments".into(),
        Action::Persistence(_) => "persistent paths".into(),
        Action::Volume(volume) => format!("volume at `{}`", volume.path),
        Action::Report(address) => format!("report to {}", crate::fetch::address(address)),
    }
}

/// The verb as systemctl(1) writes it.
pub(crate) fn word(verb: SystemctlVerb) -> &'static str {
    match verb {
        SystemctlVerb::Enable => "enable",
        SystemctlVerb::Disable => "disable",
        SystemctlVerb::Mask => "mask",
        SystemctlVerb::Start => "start",
    }
}
