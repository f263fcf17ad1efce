//! Where the guest's first serial line goes.
//!
//! Kiln's systems speak on the serial console, because that is what servers, clouds and tests have
//! in common; no graphics adapter is given to a machine at all.

use std::path::PathBuf;

use crate::machine::escape;

/// The other end of the guest's serial console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// The terminal of the caller, in raw mode: every key reaches the guest, Ctrl-C too.
    /// Ctrl-A X ends the machine, Ctrl-A C switches to QEMU's monitor, Ctrl-A Ctrl-A sends Ctrl-A.
    Terminal,
    /// Standard input and output of the emulator as pipes held by the caller; no escape key, since
    /// a test may send any byte.
    Pipe,
    /// A unix socket that QEMU listens on; the guest does not wait for a listener.
    Socket(PathBuf),
    /// A file that receives what the guest writes; nothing can be typed.
    File(PathBuf),
    /// No serial line.
    None,
}

impl Console {
    /// The arguments that connect this console to the board's first serial port.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let serial = match self {
            Self::Terminal => return vec!["-serial".into(), "mon:stdio".into()],
            Self::None => return vec!["-serial".into(), "none".into()],
            Self::Pipe => "stdio,id=console,mux=off,signal=off".to_owned(),
            Self::Socket(path) => {
                format!("socket,id=console,server=on,wait=off,path={}", escape(path))
            }
            Self::File(path) => format!("file,id=console,path={}", escape(path)),
        };
        vec!["-chardev".into(), serial, "-serial".into(), "chardev:console".into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_console_is_one_serial_line() {
        for (console, expected) in [
            (Console::Terminal, "-serial mon:stdio"),
            (Console::None, "-serial none"),
            (Console::Pipe, "-chardev stdio,id=console,mux=off,signal=off -serial chardev:console"),
            (
                Console::Socket("/w/a,b".into()),
                "-chardev socket,id=console,server=on,wait=off,path=/w/a,,b -serial chardev:console",
            ),
            (
                Console::File("/w/log".into()),
                "-chardev file,id=console,path=/w/log -serial chardev:console",
            ),
        ] {
            assert_eq!(console.arguments().join(" "), expected);
        }
    }
}
