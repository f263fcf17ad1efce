//! Where images come from, in the words of Elemental and of Kiln.
//!
//! The same word means two things: `oci:` is a reference to a registry there and a folder here. What
//! has no counterpart is refused by name instead of being tried as something else.

use super::LegacyError;

/// Beginnings of references to registries. None at all means the same.
const REGISTRY: [&str; 4] = ["docker://", "oci://", "docker:", "oci:"];
/// What Kiln calls the same.
const SAME: [&str; 4] = ["dir:", "tar:", "oci-archive:", "docker-archive:"];
/// Kinds that are not taken over, and what to give instead.
const REFUSED: [(&str, &str); 2] = [
    ("channel:", "packages of a channel are not installed; give the container image of the system"),
    ("file:", "a file with a file system is no source; give the container image it was made from"),
];

/// The source that Kiln is given for one of Elemental's.
pub(super) fn source(text: &str) -> Result<String, LegacyError> {
    let refuse =
        |hint: &str| LegacyError::Refused { what: format!("`{text}`"), hint: hint.to_owned() };
    for (scheme, hint) in REFUSED {
        if text.starts_with(scheme) {
            return Err(refuse(hint));
        }
    }
    let behind = |text: &str| text.strip_prefix("//").unwrap_or(text).to_owned();
    let rest = match SAME.iter().find_map(|scheme| Some((*scheme, text.strip_prefix(scheme)?))) {
        Some((scheme, rest)) => return named(&format!("{scheme}{}", behind(rest)), rest, text),
        None => match text.strip_prefix("ocifile:") {
            Some(rest) => return named(&format!("oci-archive:{}", behind(rest)), rest, text),
            None => REGISTRY.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text),
        },
    };
    // A folder, which no registry's reference looks like.
    if rest.starts_with('/') && text.starts_with("oci:") {
        return Ok(format!("oci:{rest}"));
    }
    named(&format!("docker://{rest}"), rest, text)
}

fn named(source: &str, rest: &str, text: &str) -> Result<String, LegacyError> {
    if rest.is_empty() {
        let hint = "give an image, such as registry.example/edge:14";
        return Err(LegacyError::Refused { what: format!("`{text}`"), hint: hint.to_owned() });
    }
    Ok(source.to_owned())
}

#[cfg(test)]
mod tests {
    use super::source;

    #[test]
    fn sources_are_spelt_anew() {
        for (text, expected) in [
            ("registry.example/edge:14", "docker://registry.example/edge:14"),
            ("docker:registry.example/edge:14", "docker://registry.example/edge:14"),
            ("docker://registry.example/edge:14", "docker://registry.example/edge:14"),
            ("oci:registry.example/edge@sha256:ab", "docker://registry.example/edge@sha256:ab"),
            ("oci://registry.example/edge", "docker://registry.example/edge"),
            ("oci:/media/edge", "oci:/media/edge"),
            ("dir:/mnt/root", "dir:/mnt/root"),
            ("dir:///mnt/root", "dir:/mnt/root"),
            ("oci-archive:edge.tar", "oci-archive:edge.tar"),
            ("ocifile:/media/edge.tar", "oci-archive:/media/edge.tar"),
        ] {
            assert_eq!(source(text).unwrap(), expected, "{text}");
        }
        for text in ["channel:system/cos", "file:/run/active.img", "", "dir:", "docker:"] {
            assert!(source(text).is_err(), "{text}");
        }
    }
}
