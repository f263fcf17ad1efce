//! Words of other programs, read by tables as those programs read them.
//!
//! Their flags are pflag's: `--flag value`, `--flag=value`, `-f value`, `-fvalue`, `-f=value`, switches
//! with `=false`, and flags anywhere between the words. Each flag says in its table what it means
//! here: it is used, it has no effect and why, or it is refused with what to do instead. Giving clap a
//! second command tree for each program was dropped: none of that could stand in it, and a flag that
//! is passed over in silence is a promise that nobody keeps.

use std::ffi::{OsStr, OsString};

use kiln_config::suggest::nearest;

use super::LegacyError;

/// A flag of another program.
#[derive(Debug)]
pub(super) struct Flag {
    /// Its name without dashes.
    pub(super) name: &'static str,
    short: Option<char>,
    takes: Takes,
    effect: Effect,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing, or `=true` and `=false`.
    Nothing,
    /// A value.
    Value,
    /// Nothing, or a value behind `=`: a switch of one generation that was an option in the next.
    Either,
}

/// What a flag means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Used,
    Ignored(&'static str),
    Refused(&'static str),
}

/// A switch.
pub(super) const fn switch(name: &'static str) -> Flag {
    Flag { name, short: None, takes: Takes::Nothing, effect: Effect::Used }
}

/// A flag with a value.
pub(super) const fn option(name: &'static str) -> Flag {
    Flag { takes: Takes::Value, ..switch(name) }
}

/// A flag whose value may be missing, or stand behind `=`.
pub(super) const fn either(name: &'static str) -> Flag {
    Flag { takes: Takes::Either, ..switch(name) }
}

impl Flag {
    /// The same with one letter.
    pub(super) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    /// The same without any effect, and why.
    pub(super) const fn ignored(self, reason: &'static str) -> Self {
        Self { effect: Effect::Ignored(reason), ..self }
    }

    /// The same as an error, and what to do instead.
    pub(super) const fn refused(self, hint: &'static str) -> Self {
        Self { effect: Effect::Refused(hint), ..self }
    }

    /// A line of the help.
    pub(super) fn help(&self) -> String {
        let short = self.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        let value = if self.takes == Takes::Value { " VALUE" } else { "" };
        let words = format!("{short}--{}{value}", self.name);
        match self.effect {
            Effect::Used => format!("  {words}\n"),
            Effect::Ignored(reason) => format!("  {words:<28} no effect: {reason}\n"),
            Effect::Refused(hint) => format!("  {words:<28} refused: {hint}\n"),
        }
    }
}

/// The words of one call.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    given: Vec<(&'static str, OsString)>,
    /// What is no flag.
    pub(super) words: Vec<OsString>,
    /// Whether help was asked for.
    pub(super) help: bool,
    /// What is to be said about flags without effect.
    pub(super) notes: Vec<String>,
}

impl Parsed {
    /// Whether a switch is on; the last word counts.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        let mut given = self.given.iter().rev();
        given.find(|(given, _)| *given == name).map(|(_, value)| value.as_os_str())
    }

    /// All values of a flag.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsStr> {
        self.given
            .iter()
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// The one word that a program takes, if it was given.
    pub(super) fn word(&self, program: &str) -> Result<Option<&OsStr>, LegacyError> {
        match self.words.as_slice() {
            [] => Ok(None),
            [word] => Ok(Some(word)),
            [_, second, ..] => Err(LegacyError::TooMany {
                program: program.to_owned(),
                word: second.to_string_lossy().into_owned(),
            }),
        }
    }
}

/// What switches that are on have as their value.
pub(super) const ON: &str = "true";

/// Reads the words of a call by tables of flags.
pub(super) fn parse(
    program: &str,
    words: &[OsString],
    tables: &[&'static [Flag]],
) -> Result<Parsed, LegacyError> {
    let mut reader = Reader { program, tables, parsed: Parsed::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            reader.parsed.words.push(word.clone());
            continue;
        };
        if text == "--" {
            reader.parsed.words.extend(words.cloned());
            break;
        } else if let Some(long) = text.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            reader.long(name, inline, &mut words)?;
        } else if text.len() > 1
            && let Some(letters) = text.strip_prefix('-')
        {
            reader.letters(letters, &mut words)?;
        } else {
            reader.parsed.words.push(word.clone());
        }
    }
    Ok(reader.parsed)
}

struct Reader<'a> {
    program: &'a str,
    tables: &'a [&'static [Flag]],
    parsed: Parsed,
}

impl Reader<'_> {
    fn flags(&self) -> impl Iterator<Item = &'static Flag> + '_ {
        self.tables.iter().flat_map(|table| table.iter())
    }

    fn long<'w>(
        &mut self,
        name: &str,
        inline: Option<&str>,
        words: &mut impl Iterator<Item = &'w OsString>,
    ) -> Result<(), LegacyError> {
        if name == "help" {
            self.parsed.help = true;
            return Ok(());
        }
        let Some(flag) = self.flags().find(|flag| flag.name == name) else {
            let known = nearest(name, self.flags().map(|flag| flag.name));
            return Err(self.unknown(&format!("--{name}"), known));
        };
        self.take(flag, inline, words)
    }

    /// Letters behind one dash: switches, and at the end one that takes the rest or the next word.
    fn letters<'w>(
        &mut self,
        letters: &str,
        words: &mut impl Iterator<Item = &'w OsString>,
    ) -> Result<(), LegacyError> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            if letter == 'h' {
                self.parsed.help = true;
                continue;
            }
            let Some(flag) = self.flags().find(|flag| flag.short == Some(letter)) else {
                // `-docker-image`, as nobody means it by letters.
                let known = nearest(letters, self.flags().map(|flag| flag.name));
                return Err(self.unknown(&format!("-{letters}"), known));
            };
            let behind = rest.as_str();
            if flag.takes == Takes::Value {
                let value = behind.strip_prefix('=').unwrap_or(behind);
                return self.take(flag, (!behind.is_empty()).then_some(value), words);
            }
            if let Some(value) = behind.strip_prefix('=') {
                return self.take(flag, Some(value), words);
            }
            self.take(flag, None, words)?;
        }
        Ok(())
    }

    fn take<'w>(
        &mut self,
        flag: &'static Flag,
        inline: Option<&str>,
        words: &mut impl Iterator<Item = &'w OsString>,
    ) -> Result<(), LegacyError> {
        let value = match (flag.takes, inline) {
            (Takes::Value, None) => words.next().cloned().ok_or_else(|| {
                LegacyError::MissingValue { program: self.program.to_owned(), flag: flag.name }
            })?,
            (Takes::Nothing | Takes::Either, None) => ON.into(),
            (Takes::Nothing, Some(value)) => match value {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => ON.into(),
                "false" | "0" | "f" | "F" | "FALSE" | "False" => "false".into(),
                _ => {
                    return Err(LegacyError::NoSwitch { flag: flag.name, value: value.to_owned() });
                }
            },
            (Takes::Value | Takes::Either, Some(value)) => value.into(),
        };
        let is_off = flag.takes == Takes::Nothing && value == "false";
        match flag.effect {
            Effect::Ignored(reason) if !is_off => {
                self.parsed.notes.push(format!("`--{}` has no effect here: {reason}", flag.name));
            }
            Effect::Refused(hint) if !is_off => {
                return Err(LegacyError::Refused {
                    what: format!("`--{}`", flag.name),
                    hint: hint.to_owned(),
                });
            }
            _ => self.parsed.given.push((flag.name, value)),
        }
        Ok(())
    }

    fn unknown(&self, flag: &str, known: Option<&'static str>) -> LegacyError {
        LegacyError::UnknownFlag { program: self.program.to_owned(), flag: flag.to_owned(), known }
    }
}

#[cfg(test)]
mod tests {
    use super::{Flag, either, option, parse, switch};
    use crate::legacy::tests::words;

    const FLAGS: &[Flag] = &[
        option("system").short('s'),
        switch("reboot").short('r'),
        switch("old").short('o').ignored("it is new"),
        switch("cosign").refused("use keys"),
        either("docker-image"),
    ];

    #[test]
    fn words_are_read_as_pflag_reads_them() {
        for (line, expected) in [
            ("--system a", "system=a|"),
            ("--system=a=b", "system=a=b|"),
            ("-s a", "system=a|"),
            ("-sa", "system=a|"),
            ("-s=a", "system=a|"),
            ("-rs a", "reboot=true system=a|"),
            ("--reboot", "reboot=true|"),
            ("--reboot=false x", "reboot=false|x"),
            ("-r=0 -", "reboot=false|-"),
            ("x --reboot y", "reboot=true|x y"),
            ("--system --reboot", "system=--reboot|"),
            ("-- --reboot", "|--reboot"),
            ("--docker-image x", "docker-image=true|x"),
            ("--docker-image=x", "docker-image=x|"),
            ("--cosign=false", "cosign=false|"),
            ("--old", "|"),
            ("--system", "error: elemental install: `--system` needs a value"),
            ("--sytem x", "error: elemental install has no flag `--sytem`; `--system` is near"),
            ("--wrong", "error: elemental install has no flag `--wrong`"),
            ("-x", "error: elemental install has no flag `-x`"),
            ("-reboot", "error: elemental install has no flag `-reboot`; `--reboot` is near"),
            ("--reboot=maybe", "error: `--reboot` is a switch, and `maybe` is neither"),
            ("--cosign", "error: `--cosign` is not taken over"),
        ] {
            let found = match parse("elemental install", &words(line), &[FLAGS]) {
                Ok(parsed) => {
                    let given: Vec<String> = parsed
                        .given
                        .iter()
                        .map(|(name, value)| format!("{name}={}", value.display()))
                        .collect();
                    let rest: Vec<String> =
                        parsed.words.iter().map(|word| word.display().to_string()).collect();
                    format!("{}|{}", given.join(" "), rest.join(" "))
                }
                Err(error) => format!("error: {error}"),
            };
            assert!(found.starts_with(expected), "{line}: {found}");
        }
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let parsed = parse("x", &words("-o --old=false"), &[FLAGS]).unwrap();
        assert_eq!(parsed.notes, ["`--old` has no effect here: it is new"]);
        assert!(parse("x", &words("a -h"), &[FLAGS]).unwrap().help);
        assert!(parse("x", &words("a b"), &[FLAGS]).unwrap().word("x").is_err());
    }
}
