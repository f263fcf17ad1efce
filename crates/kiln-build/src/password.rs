//! Passwords as `/etc/shadow` holds them.
//!
//! The salt is derived from name and password, because builds of equal options must give equal bytes:
//! two users with one password still have different hashes. An image is no place for a password that
//! must stay secret anyway; keys or a login given on the first boot are.

use kiln_etc::password::{SALT_BYTES, hash};

use crate::checksum::sha256;

/// A crypt(5) hash; text that begins with `$` is one already.
pub(crate) fn hash_password(name: &str, password: &str) -> Result<String, String> {
    if password.contains([':', '\n']) && password.starts_with('$') {
        return Err("the password hash holds a colon or a line break".into());
    }
    if password.starts_with('$') {
        return Ok(password.to_owned());
    }
    let derived = sha256(&[b"kiln login salt\0", name.as_bytes(), b"\0", password.as_bytes()]);
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&derived[..SALT_BYTES]);
    hash(password, salt)
}

#[cfg(test)]
mod tests {
    use super::hash_password;

    #[test]
    fn equal_passwords_give_equal_hashes_and_hashes_pass() {
        let hash = hash_password("kiln", "secret").unwrap();
        assert!(hash.starts_with("$6$"), "{hash}");
        assert_eq!(hash, hash_password("kiln", "secret").unwrap());
        assert_ne!(hash, hash_password("root", "secret").unwrap());
        assert_eq!(hash_password("kiln", "$y$j9T$x").unwrap(), "$y$j9T$x");
        assert!(hash_password("kiln", "").is_err());
        assert!(hash_password("kiln", "$6$a:b").is_err());
    }
}
