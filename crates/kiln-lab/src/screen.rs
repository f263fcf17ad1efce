//! What a serial console shows, as plain text.
//!
//! Firmware and systemd write colours, cursor moves and carriage returns. Patterns in tests are
//! written as a reader sees the line, so all of that is taken out while the bytes arrive. No
//! terminal is emulated: a full-screen menu comes out as its words in the order written, which is
//! enough to find one.

/// Where in an escape sequence the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// Inside `ESC [ … letter` (ECMA-48 section 5.4).
    Control,
    /// Inside `ESC ] … BEL` or `ESC P … ESC \`, which set titles and the like.
    Text0,
    /// After ESC inside the former.
    Text0Escape,
    /// After `ESC (` and the like: one more byte selects a character set.
    CharacterSet,
}

/// Turns console bytes into text, across any cuts between reads.
#[derive(Debug, Default)]
pub struct Screen {
    state: State,
    /// Bytes of a UTF-8 character that has not arrived in full.
    pending: Vec<u8>,
}

impl Screen {
    /// Appends the text of `bytes` to `text`.
    pub fn feed(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, 0x1b) => State::Escape,
                (State::Text, b'\n' | b'\t' | 0x20..) => {
                    self.pending.push(byte);
                    State::Text
                }
                // Carriage return, bell, backspace and the rest of the control codes.
                (State::Text, _) => State::Text,
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']' | b'P') => State::Text0,
                (State::Escape, b'(' | b')' | b'#' | b'%') => State::CharacterSet,
                (State::Escape, _) => State::Text,
                (State::Control, 0x40..=0x7e) => State::Text,
                (State::Control, _) => State::Control,
                (State::Text0, 0x07) => State::Text,
                (State::Text0, 0x1b) => State::Text0Escape,
                (State::Text0, _) => State::Text0,
                (State::Text0Escape, _) | (State::CharacterSet, _) => State::Text,
            };
        }
        self.drain(text);
    }

    fn drain(&mut self, text: &mut String) {
        let bytes = std::mem::take(&mut self.pending);
        let mut rest = &bytes[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(good) => return text.push_str(good),
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(good));
                    match error.error_len() {
                        // The character may go on in the next read.
                        None => return self.pending.extend_from_slice(bad),
                        Some(length) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &bad[length..];
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_stay() {
        for (bytes, expected) in [
            (&b"plain\r\n"[..], "plain\n"),
            (b"[\x1b[0;32m  OK  \x1b[0m] Started", "[  OK  ] Started"),
            (b"\x1b[?2004h$ \x1b]0;title\x07x", "$ x"),
            (b"\x1b]3008;start=1\x1b\\y", "y"),
            (b"\x1b(B\x1bMz\x08", "z"),
            ("größer".as_bytes(), "größer"),
            (b"\xff!", "\u{fffd}!"),
        ] {
            for cut in 0..bytes.len() {
                let (mut screen, mut text) = (Screen::default(), String::new());
                screen.feed(&bytes[..cut], &mut text);
                screen.feed(&bytes[cut..], &mut text);
                assert_eq!(text, expected, "cut at {cut}");
            }
        }
    }
}
