//! Which calls restart the machine or switch it off: a table of what their manual pages say.

/// What is done with the machine behind all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// It starts again.
    Restart,
    /// It is switched off.
    Off,
}

impl Power {
    /// The word in the file of wishes.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Off => "off",
        }
    }

    /// Reads [`Power::word`].
    pub(super) fn parse(word: &str) -> Option<Self> {
        [Self::Restart, Self::Off].into_iter().find(|power| power.word() == word)
    }
}

/// What a call asks for; nothing where it asks for something else, such as help. A machine that is halted
/// is switched off: nobody is there who could press its button.
pub(super) fn asked(name: &str, words: &[String]) -> Option<Power> {
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    let letters = |letter| {
        words
            .iter()
            .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
    };
    if has(&["--help", "--version", "-w", "--wtmp-only"]) {
        return None;
    }
    match name {
        // halt(8): each of the three takes the others as an option.
        "reboot" | "poweroff" | "halt" => Some(if has(&["--poweroff", "--halt"]) || letters('p') {
            Power::Off
        } else if name == "reboot" || has(&["--reboot"]) {
            Power::Restart
        } else {
            Power::Off
        }),
        // shutdown(8)
        "shutdown" if letters('c') || letters('k') || has(&["--show"]) => None,
        "shutdown" => {
            Some(if letters('r') || has(&["--reboot"]) { Power::Restart } else { Power::Off })
        }
        // telinit(8)
        "init" | "telinit" => match words.iter().find(|word| !word.starts_with('-'))?.as_str() {
            "6" => Some(Power::Restart),
            "0" => Some(Power::Off),
            _ => None,
        },
        "systemctl" => systemctl(words),
        _ => None,
    }
}

/// The verbs and targets of systemctl(1) that end in a restart or without power.
fn systemctl(words: &[String]) -> Option<Power> {
    // Options whose value is a word of its own.
    const VALUES: [&str; 9] = ["-H", "-M", "-t", "-p", "-P", "-s", "-n", "-o", "-T"];
    let mut plain = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if VALUES.contains(&word.as_str()) {
            rest.next();
        } else if !word.starts_with('-') {
            plain.push(word.as_str());
        }
    }
    let (verb, units) = plain.split_first()?;
    let of_target = |unit: &&str| match unit.trim_end_matches(".target") {
        "reboot" | "kexec" | "soft-reboot" | "runlevel6" => Some(Power::Restart),
        "poweroff" | "halt" | "runlevel0" => Some(Power::Off),
        _ => None,
    };
    match *verb {
        "start" | "isolate" => {
            units.iter().filter(|unit| unit.ends_with(".target")).find_map(of_target)
        }
        verb => of_target(&verb).filter(|_| !verb.contains('.') && !verb.starts_with("runlevel")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Power, asked};

    #[test]
    fn calls_mean_what_their_manuals_say() {
        let (restart, off) = (Some(Power::Restart), Some(Power::Off));
        for (call, expected) in [
            ("reboot", restart),
            ("reboot -f", restart),
            ("reboot -p", off),
            ("reboot --help", None),
            ("reboot --wtmp-only", None),
            ("poweroff", off),
            ("poweroff --reboot", restart),
            ("halt -p", off),
            ("halt", off),
            ("shutdown -r now", restart),
            ("shutdown -hr +1", restart),
            ("shutdown -h now", off),
            ("shutdown", off),
            ("shutdown +5", off),
            ("shutdown -c", None),
            ("shutdown -k now", None),
            ("init 6", restart),
            ("telinit 0", off),
            ("init q", None),
            ("init", None),
            ("systemctl reboot", restart),
            ("systemctl --no-block reboot -i", restart),
            ("systemctl -M box reboot", restart),
            ("systemctl kexec", restart),
            ("systemctl poweroff --force", off),
            ("systemctl halt", off),
            ("systemctl isolate reboot.target", restart),
            ("systemctl start poweroff.target", off),
            ("systemctl start reboot.service", None),
            ("systemctl enable k3s", None),
            ("systemctl status", None),
            ("systemctl", None),
            ("mount /dev/sda5 /var", None),
        ] {
            let words: Vec<String> = call.split(' ').skip(1).map(str::to_owned).collect();
            let name = call.split(' ').next().unwrap();
            assert_eq!(asked(name, &words), expected, "{call}");
        }
        for power in [Power::Restart, Power::Off] {
            assert_eq!(Power::parse(power.word()), Some(power));
        }
        assert_eq!(Power::parse("later"), None);
    }
}
