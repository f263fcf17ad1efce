//! Parameters of the running kernel, and its modules.

use std::io::Write;

use kiln_config::action::Setting;

use crate::error::file;
use crate::{Error, Surroundings};

impl Surroundings<'_> {
    pub(crate) fn sysctl(&mut self, setting: &Setting) -> Result<(), Error> {
        let value = self.text(&setting.value)?;
        let below = parameter(&setting.name).ok_or_else(|| Error::Setting {
            what: "the kernel parameter",
            value: setting.name.clone(),
            reason: "it is no name of one",
        })?;
        let path = self.kernel.join("sys").join(&below);
        let shown = format!("/proc/sys/{below}");
        // Never made: a name without a file is no parameter of this kernel.
        let opened = std::fs::File::options().write(true).open(path);
        let mut opened = opened.map_err(file("open the kernel parameter", &shown))?;
        opened.write_all(value.as_bytes()).map_err(file("set the kernel parameter", &shown))
    }

    pub(crate) fn module(&mut self, setting: &Setting) -> Result<(), Error> {
        let parameters = self.text(&setting.value)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if setting.name.starts_with('-') || !setting.name.bytes().all(is_name) {
            return Err(Error::Setting {
                what: "the kernel module",
                value: setting.name.clone(),
                reason: "it is no name of one",
            });
        }
        let loaded = std::fs::read_to_string(self.kernel.join("modules")).unwrap_or_default();
        if is_loaded(&loaded, &setting.name) {
            return Ok(());
        }
        let mut arguments = vec!["--", setting.name.as_str()];
        arguments.extend(parameters.split_whitespace());
        self.program("modprobe", "modprobe", &arguments)
    }
}

/// The path of a parameter below `/proc/sys` (sysctl(8)): where the first separator is a slash, dots
/// are part of names.
fn parameter(name: &str) -> Option<String> {
    let first = name.find(['.', '/']).and_then(|at| name.as_bytes().get(at));
    let path: String = if first == Some(&b'.') {
        let swap = |letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        };
        name.chars().map(swap).collect()
    } else {
        name.to_owned()
    };
    let is_good = |element: &str| !matches!(element, "" | "." | "..") && !element.contains('\0');
    path.split('/').all(is_good).then_some(path)
}

/// Whether `/proc/modules` has a module, whose name has `_` where files may have `-`.
fn is_loaded(modules: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    modules.lines().any(|line| line.split(' ').next() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::{is_loaded, parameter};

    #[test]
    fn names_become_paths_and_never_lead_out() {
        for (name, expected) in [
            ("vm.max_map_count", Some("vm/max_map_count")),
            ("net.ipv4.conf.eth0/100.forwarding", Some("net/ipv4/conf/eth0.100/forwarding")),
            ("net/ipv4/conf/eth0.100/forwarding", Some("net/ipv4/conf/eth0.100/forwarding")),
            ("../../etc/passwd", None),
            ("kernel/../../x", None),
            ("a..b", None),
            ("", None),
        ] {
            assert_eq!(parameter(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn modules_are_found_by_either_spelling() {
        let modules = "br_netfilter 32768 0 - Live 0x0\nbridge 1 1 br_netfilter, Live 0x0\n";
        for (name, expected) in [("br-netfilter", true), ("bridge", true), ("br", false)] {
            assert_eq!(is_loaded(modules, name), expected, "{name}");
        }
    }
}
