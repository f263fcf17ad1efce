//! Account files as they may be shown: without the hashes of passwords.
//!
//! A hash can be guessed from, so it is shown to nobody. Equal hashes get equal numbers and different
//! ones different numbers, so that two versions of a file still tell whether a password changed.

use super::AccountFile;

/// Longest field that stands for "no password" or "locked" and may be shown: `!*`, `x`, `!!`.
const HARMLESS: usize = 2;

/// The text of an account file with passwords replaced. `seen` collects them, so that two texts can be
/// masked together.
#[must_use]
pub fn mask(file: AccountFile, text: &[u8], seen: &mut Vec<Vec<u8>>) -> Vec<u8> {
    if matches!(file, AccountFile::Subuid | AccountFile::Subgid) {
        return text.to_vec();
    }
    let lines = text.split(|byte| *byte == b'\n').map(|line| {
        let mut fields: Vec<Vec<u8>> =
            line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
        if fields.len() == 1 && !line.is_empty() && !line.starts_with(b"#") {
            // No entry; it could be anything.
            return hidden(line, seen);
        }
        // All that could be a hash in a damaged line, too.
        for (number, field) in fields.iter_mut().enumerate().skip(1) {
            let is_hash = field.contains(&b'$') || field.len() >= 13 && is_crypt(field);
            if (number == 1 && field.len() > HARMLESS) || is_hash {
                *field = hidden(field, seen);
            }
        }
        fields.join(&b':')
    });
    lines.collect::<Vec<_>>().join(&b'\n')
}

/// Whether a field is made of crypt(3)'s letters alone, as traditional hashes are, and looks random.
fn is_crypt(field: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"./".contains(byte);
    field.len() == 13 && field.iter().all(is_letter) && !field.starts_with(b"/")
}

/// What stands for a secret; locks before it stay visible.
fn hidden(secret: &[u8], seen: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let locks = secret.iter().take_while(|byte| **byte == b'!').count();
    let (lock, hash) = secret.split_at(locks);
    let number = seen.iter().position(|one| one == hash).unwrap_or_else(|| {
        seen.push(hash.to_vec());
        seen.len() - 1
    });
    [lock, format!("<hidden {}>", number + 1).as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_hidden_and_changes_seen() {
        let mut seen = Vec::new();
        let mut masked =
            |file, text: &str| String::from_utf8(mask(file, text.as_bytes(), &mut seen)).unwrap();
        let cases = [
            (AccountFile::Shadow, "a:$6$x$y:1:0:99999:7:::\n", "a:<hidden 1>:1:0:99999:7:::\n"),
            (AccountFile::Shadow, "a:$6$x$z:1:0:99999:7:::\n", "a:<hidden 2>:1:0:99999:7:::\n"),
            (AccountFile::Shadow, "b:!$6$x$y:1::::::", "b:!<hidden 1>:1::::::"),
            (AccountFile::Shadow, "b:!*:1::::::", "b:!*:1::::::"),
            (AccountFile::Shadow, "b::1::::::", "b::1::::::"),
            (AccountFile::Passwd, "a:x:1:1:A B:/root:/bin/sh", "a:x:1:1:A B:/root:/bin/sh"),
            (AccountFile::Passwd, "a:ab01234567890:1:1:::", "a:<hidden 3>:1:1:::"),
            (AccountFile::Shadow, "broken:1:$y$secret", "broken:1:<hidden 4>"),
            (AccountFile::Shadow, "$y$secret", "<hidden 4>"),
            (AccountFile::Subuid, "a:100000:65536", "a:100000:65536"),
            (AccountFile::Shadow, "", ""),
        ];
        for (file, text, expected) in cases {
            assert_eq!(masked(file, text), expected);
        }
    }
}
