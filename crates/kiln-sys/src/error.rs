//! The one error type of this crate: which call failed, on what, and the kernel's answer.
//!
//! One shape for all calls, because callers never act on which call it was; they add what they were
//! trying to do. Returning bare `io::Error` was dropped: "no such device" without a name helps
//! nobody who stands in front of a console.

/// A system call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused.
    #[error("{call} on `{subject}` failed")]
    Call {
        /// The system call or ioctl, by its usual name.
        call: &'static str,
        /// The path, device or name that it was about.
        subject: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A text for the kernel has a NUL byte or does not fit into its field.
    #[error("`{subject}` cannot be passed to {call}")]
    Text {
        /// The system call or ioctl, by its usual name.
        call: &'static str,
        /// The text that was refused.
        subject: String,
    },
    /// A program ended with an error.
    #[error("`{program}` ended with {status}")]
    Program {
        /// Path of the program.
        program: String,
        /// Its exit status or signal, as text.
        status: String,
    },
}

impl Error {
    /// The kernel's error number, where the kernel gave one (`errno(3)`).
    #[must_use]
    pub fn number(&self) -> Option<i32> {
        match self {
            Self::Call { source, .. } => source.raw_os_error(),
            Self::Text { .. } | Self::Program { .. } => None,
        }
    }

    /// Whether the thing is already as wanted: it exists (`EEXIST`).
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.number() == Some(libc::EEXIST)
    }

    /// What to do next, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self.number()? {
            libc::ENODEV => {
                "the kernel lacks the driver or file system: add its module to the image"
            }
            libc::EPERM | libc::EACCES => "run this as root",
            libc::EBUSY => "something else uses the device: unmount or close it first",
            _ => return None,
        };
        Some(hint.into())
    }
}

/// The adapter for `map_err`: names call and subject.
pub(crate) fn failed<Source: Into<std::io::Error>>(
    call: &'static str,
    subject: impl AsRef<std::ffi::OsStr>,
) -> impl FnOnce(Source) -> Error {
    let subject = subject.as_ref().to_string_lossy().into_owned();
    move |source| Error::Call { call, subject, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_call_subject_and_reason() {
        let error = failed("mount", "/dev/vda3")(std::io::Error::from_raw_os_error(libc::ENODEV));
        assert_eq!(error.number(), Some(libc::ENODEV));
        assert_eq!(error.to_string(), "mount on `/dev/vda3` failed");
        assert!(error.hint().is_some_and(|hint| hint.contains("module")));
        assert!(!error.already_exists());
        assert!(failed("mkdir", "/x")(std::io::Error::from_raw_os_error(17)).already_exists());
    }
}
