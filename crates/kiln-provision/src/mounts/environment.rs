//! Variables of an environment file, as shells and systemd read them alike.
//!
//! Such a file is written by steps and by commands, so quotes may reach over lines and `export` may stand
//! before a name. Nothing is expanded: what a shell would compute cannot be told by reading, and a `$`
//! then stands for itself. What is no assignment is passed over, because a fault in one line must not
//! lose the layout of a machine.

/// Longest text that is read, in bytes; what is behind it is passed over.
const MAXIMUM: usize = 64 << 10;

/// Names and values in their order.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let end = (0..=text.len().min(MAXIMUM)).rev().find(|end| text.is_char_boundary(*end));
    let mut letters = text.get(..end.unwrap_or(0)).unwrap_or_default().chars().peekable();
    let mut variables: Vec<(String, String)> = Vec::new();
    while letters.peek().is_some() {
        let mut name = String::new();
        let mut is_assignment = false;
        while let Some(letter) = letters.next_if(|letter| *letter != '\n') {
            if letter == '=' {
                is_assignment = true;
                break;
            }
            name.push(letter);
        }
        if !is_assignment {
            letters.next();
            continue;
        }
        let value = value(&mut letters);
        let name = name.trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if is_name(name) {
            variables.retain(|(other, _)| other != name);
            variables.push((name.to_owned(), value));
        }
    }
    variables
}

/// A value up to the end of its line, quotes taken off.
fn value(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut value = String::new();
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '\n') => break,
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None | Some('"'), '\\') => match letters.next() {
                // The line goes on.
                Some('\n') | None => {}
                Some(next) => value.push(next),
            },
            // A comment behind a value, as shells see it.
            (None, '#') if value.is_empty() || value.ends_with([' ', '\t']) => {
                while letters.next_if(|letter| *letter != '\n').is_some() {}
            }
            (_, letter) => value.push(letter),
        }
    }
    value.trim().to_owned()
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::{MAXIMUM, parse};

    #[test]
    fn variables_are_read_as_a_shell_reads_them() {
        let cases: [(&str, &[(&str, &str)]); 12] = [
            ("", &[]),
            ("A=b", &[("A", "b")]),
            ("A=\"/etc /srv\"\nB='x y'\n", &[("A", "/etc /srv"), ("B", "x y")]),
            ("A=\"/etc\n/srv\"\nB=1", &[("A", "/etc\n/srv"), ("B", "1")]),
            ("A=/etc \\\n /srv\n", &[("A", "/etc  /srv")]),
            ("# A=b\n\nexport A=b # why\n", &[("A", "b")]),
            ("A=1\nA=2\n", &[("A", "2")]),
            ("A=\"a\\\"b\\$c\"\n", &[("A", "a\"b$c")]),
            ("A='a\\b'\n", &[("A", "a\\b")]),
            ("no assignment\n1A=x\nB=y", &[("B", "y")]),
            ("A=\"never closed\nB=y", &[("A", "never closed\nB=y")]),
            ("A=\nB=a#b", &[("A", ""), ("B", "a#b")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<(String, String)> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(parse(text), expected, "{text:?}");
        }
        let long = format!("{}\nA=ä{}", "x".repeat(MAXIMUM - 4), "y".repeat(100));
        assert_eq!(parse(&long).len(), 1, "cut inside of a letter");
    }
}
