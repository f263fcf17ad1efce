//! The `[Install]` section of a unit, and the links by which it is enabled.
//!
//! Format: systemd.unit(5). systemctl(1) does no more than to make these links, so they are made here: on
//! first boot no systemd runs, and the image's systemctl would be one more program that may be missing.

/// What a unit says about being enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Install {
    /// Units that want, require or uphold it, with the ending of the folder of links.
    pub(super) by: Vec<(String, &'static str)>,
    /// Further names.
    pub(super) alias: Vec<String>,
    /// Units that are enabled with it.
    pub(super) also: Vec<String>,
    /// Instance that is enabled where a template is named.
    pub(super) default_instance: Option<String>,
}

/// Keys, and the endings of their folders.
const BY: [(&str, &str); 3] =
    [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")];

impl Install {
    /// Reads one more file of a unit: the unit itself, then its drop-ins.
    pub(super) fn read(&mut self, text: &str) {
        let mut is_install = false;
        for line in joined(text) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                is_install = line == "[Install]";
                continue;
            }
            if let Some((key, value)) = line.split_once('=')
                && is_install
            {
                self.set(key.trim(), value.trim());
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let words = || value.split_whitespace().map(str::to_owned);
        if let Some((_, ending)) = BY.into_iter().find(|(name, _)| *name == key) {
            // An empty value takes back what was said before.
            if value.is_empty() {
                self.by.retain(|(_, other)| *other != ending);
            }
            self.by.extend(words().map(|unit| (unit, ending)));
        } else if key == "Alias" {
            if value.is_empty() {
                self.alias.clear();
            }
            self.alias.extend(words());
        } else if key == "Also" {
            self.also.extend(words());
        } else if key == "DefaultInstance" {
            self.default_instance = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
    }

    /// Whether there is nothing to enable.
    pub(super) fn is_empty(&self) -> bool {
        self.by.is_empty() && self.alias.is_empty() && self.also.is_empty()
    }
}

/// Lines, of which one that ends with a backslash goes on in the next.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| is_open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        is_open = goes_on;
    }
    lines
}

/// The parts of a unit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The whole name.
    pub(super) whole: String,
    /// What stands before `@`, or before the suffix.
    pub(super) prefix: String,
    /// What stands between `@` and the suffix; empty for a template.
    pub(super) instance: Option<String>,
    /// With its dot.
    pub(super) suffix: String,
}

/// Kinds of units.
const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];
/// Longest name, in bytes (`UNIT_NAME_MAX`).
const NAME_BYTES: usize = 255;

impl Name {
    /// Reads a name; `None` for what is none, so that no path can come of it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        let (stem, suffix) = text.rsplit_once('.')?;
        if stem.is_empty()
            || text.len() > NAME_BYTES
            || !text.bytes().all(is_good)
            || !SUFFIXES.contains(&suffix)
        {
            return None;
        }
        let (prefix, instance) = match stem.split_once('@') {
            Some(("", _)) => return None,
            Some((prefix, instance)) => (prefix, Some(instance.to_owned())),
            None => (stem, None),
        };
        let suffix = format!(".{suffix}");
        Some(Self { whole: text.to_owned(), prefix: prefix.to_owned(), instance, suffix })
    }

    /// Name of the template of an instance.
    pub(super) fn template(&self) -> Option<String> {
        self.instance.as_ref().filter(|instance| !instance.is_empty())?;
        Some(format!("{}@{}", self.prefix, self.suffix))
    }

    /// Whether it is a template.
    pub(super) fn is_template(&self) -> bool {
        self.instance.as_deref() == Some("")
    }

    /// The instance of a template.
    pub(super) fn with_instance(&self, instance: &str) -> Option<Self> {
        Self::parse(&format!("{}@{instance}{}", self.prefix, self.suffix))
    }

    /// Fills the specifiers that are known without a running system.
    pub(super) fn fill(&self, text: &str) -> Option<String> {
        let mut filled = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                filled.push(letter);
                continue;
            }
            let last = || self.prefix.rsplit('-').next().unwrap_or_default().to_owned();
            filled.push_str(&match letters.next()? {
                '%' => "%".to_owned(),
                'n' => self.whole.clone(),
                'N' => self.whole.strip_suffix(&self.suffix)?.to_owned(),
                'p' => self.prefix.clone(),
                'i' => self.instance.clone().unwrap_or_default(),
                'j' => last(),
                _ => return None,
            });
        }
        Some(filled)
    }
}

/// A link below the folder of units: its path there.
pub(super) fn links(name: &Name, install: &Install) -> Result<Vec<String>, &'static str> {
    let mut links = Vec::new();
    for (unit, ending) in &install.by {
        let unit = name.fill(unit).and_then(|unit| Name::parse(&unit));
        let unit = unit.ok_or("its section [Install] names a unit that is none")?;
        links.push(format!("{}.{ending}/{}", unit.whole, name.whole));
    }
    for alias in &install.alias {
        let alias = name.fill(alias).and_then(|alias| Name::parse(&alias));
        let alias = alias.ok_or("its section [Install] has an alias that is no name of a unit")?;
        if alias.suffix != name.suffix {
            return Err("its section [Install] has an alias of another kind");
        }
        if alias.whole != name.whole {
            links.push(alias.whole);
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_as_systemd_does() {
        let mut install = Install::default();
        install.read(
            "[Unit]\nWantedBy=no.target\n[Install]\n# note\nWantedBy = a.target \\\n  b.target\n\
             RequiredBy=c.target\nAlias=d.service e.service\nAlso=f.socket\n[X-Own]\nAlias=g.service\n",
        );
        install.read("[Install]\nWantedBy=\nWantedBy=h.target\nDefaultInstance=tty1\n");
        let by = [("c.target", "requires"), ("h.target", "wants")];
        assert_eq!(install.by, by.map(|(unit, ending)| (unit.to_owned(), ending)));
        assert_eq!(install.alias, ["d.service", "e.service"]);
        assert_eq!(install.also, ["f.socket"]);
        assert_eq!(install.default_instance.as_deref(), Some("tty1"));
    }

    #[test]
    fn only_names_of_units_are_names() {
        for (text, expected) in [
            ("a.service", true),
            ("getty@tty1.service", true),
            ("var-lib\\x2dx.mount", true),
            ("getty@.service", true),
            ("@x.service", false),
            ("a", false),
            (".service", false),
            ("../a.service", false),
            ("a b.service", false),
            ("a.exe", false),
        ] {
            assert_eq!(Name::parse(text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn links_follow_the_section() {
        for (name, text, expected) in [
            (
                "a.service",
                "WantedBy=m.target\nRequiredBy=r.target",
                Some("m.target.wants/a.service r.target.requires/a.service"),
            ),
            ("a.service", "Alias=b.service a.service", Some("b.service")),
            (
                "g@tty1.service",
                "WantedBy=%i.target x-%p.target",
                Some("tty1.target.wants/g@tty1.service x-g.target.wants/g@tty1.service"),
            ),
            ("a.service", "Alias=b.socket", None),
            ("a.service", "WantedBy=../x.target", None),
            ("a.service", "WantedBy=%H.target", None),
        ] {
            let mut install = Install::default();
            install.read(&format!("[Install]\n{text}\n"));
            let links = links(&Name::parse(name).unwrap(), &install);
            let links = links.ok().map(|links| links.join(" "));
            assert_eq!(links.as_deref(), expected, "{name} {text}");
        }
    }
}
