//! Which machine an image is for, and the choice of one manifest out of an index.
//!
//! The names are Go's `GOOS`/`GOARCH` (OCI image spec 1.1, image-index.md § platform). Variants
//! are compared after the well-known defaults (`arm64` = `arm64/v8`, `arm` = `arm/v7`), because
//! builders disagree on writing them. There is no "nearest compatible" search beyond that: an
//! image for the wrong processor would be noticed only at boot.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::Error;
use crate::digest::shorten;

/// An operating system, a processor architecture and its optional variant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux` for everything Kiln can boot.
    #[serde(default)]
    pub os: String,
    /// Go's name: `amd64`, `arm64`, `riscv64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v8`, `v7`, … where the architecture has several.
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on `architecture`.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Linux on the processor this program was compiled for.
    #[must_use]
    pub fn host() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        })
    }

    /// Whether an image for `offered` runs where `self` was asked for.
    #[must_use]
    pub fn accepts(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && match self.known_variant() {
                Some(wanted) => offered.known_variant() == Some(wanted),
                None => true,
            }
    }

    /// The variant, or what leaving it out means.
    fn known_variant(&self) -> Option<&str> {
        match (self.variant.as_deref().filter(|variant| !variant.is_empty()), &*self.architecture) {
            (None | Some("8"), "arm64") => Some("v8"),
            (None | Some("7"), "arm") => Some("v7"),
            (None, "amd64") => Some("v1"),
            (variant, _) => variant,
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::host()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", shorten(&self.os), shorten(&self.architecture))?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(formatter, "/{}", shorten(variant)),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidPlatform { given: shorten(text), reason };
        let parts: Vec<&str> = text.split('/').collect();
        let well_formed = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !parts.iter().all(well_formed) {
            return Err(invalid("its parts are letters, digits, dots, dashes and underscores"));
        }
        match parts.as_slice() {
            [os, architecture] => {
                Ok(Self { os: (*os).into(), architecture: (*architecture).into(), variant: None })
            }
            [os, architecture, variant] => Ok(Self {
                os: (*os).into(),
                architecture: (*architecture).into(),
                variant: Some((*variant).into()),
            }),
            _ => Err(invalid("it is not os/architecture or os/architecture/variant")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_by_normalised_variant() {
        for (wanted, offered, expected) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64/v3", "linux/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm", "linux/arm/v6", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/riscv64", "linux/riscv64", true),
        ] {
            let accepted = wanted.parse::<Platform>().unwrap().accepts(&offered.parse().unwrap());
            assert_eq!(accepted, expected, "{wanted} <- {offered}");
        }
    }

    #[test]
    fn refuses_malformed_text() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "li nux/amd64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert_eq!("linux/arm/v7".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
    }
}
