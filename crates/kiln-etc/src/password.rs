//! Passwords as `/etc/shadow` holds them (crypt(5)).
//!
//! SHA-512 with 5000 rounds, because every distribution's login reads it; yescrypt is stronger, and
//! older ones cannot read it. The salt comes from the caller: an image needs the same one at each
//! build, a machine a random one.

use sha_crypt::{PasswordHasher as _, ShaCrypt};

/// Bytes of a salt: the 16 characters that SHA-crypt reads are 12 bytes.
pub const SALT_BYTES: usize = 12;

/// The hash of a password in clear, or why it has none.
///
/// # Errors
/// It is empty, or cannot be hashed.
pub fn hash(password: &str, salt: [u8; SALT_BYTES]) -> Result<String, String> {
    if password.is_empty() {
        return Err("the password is empty".into());
    }
    ShaCrypt::SHA512
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| format!("the password cannot be hashed: {error}"))
}

/// Whether text is a hash, or one of the marks for "no password opens it", and fits into its field.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    (text.starts_with('$') || matches!(text, "*" | "!" | "!!" | "!*" | "x"))
        && !text.contains([':', '\n', '\r', '\0'])
}

#[cfg(test)]
mod tests {
    use super::{hash, is_hash};

    #[test]
    fn hashes_depend_on_password_and_salt() {
        let one = hash("secret", [1; 12]).unwrap();
        assert!(one.starts_with("$6$") && is_hash(&one), "{one}");
        assert_eq!(one, hash("secret", [1; 12]).unwrap());
        assert_ne!(one, hash("secret", [2; 12]).unwrap());
        assert_ne!(one, hash("Secret", [1; 12]).unwrap());
        assert!(hash("", [1; 12]).is_err());
    }

    #[test]
    fn only_what_fits_into_a_field_is_a_hash() {
        for (text, expected) in
            [("$6$a", true), ("!", true), ("secret", false), ("$6$a:b", false), ("$6$\n", false)]
        {
            assert_eq!(is_hash(text), expected, "{text}");
        }
    }
}
