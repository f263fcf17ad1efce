//! From what a document says of a password to the field of `/etc/shadow`.

use kiln_config::action::Password;
use kiln_etc::password::{SALT_BYTES, hash};

use super::refused;
use crate::{Error, Surroundings};

impl Surroundings<'_> {
    /// The field; a password in clear gets a random salt and is hashed before it is written anywhere.
    pub(super) fn hashed(&mut self, name: &str, password: &Password) -> Result<String, Error> {
        match password {
            Password::Hash(field) if field.contains([':', '\n', '\r', '\0']) => {
                Err(refused(name, "the hash of the password holds a colon or a line break"))
            }
            Password::Hash(field) => Ok(field.clone()),
            Password::Plain(clear) => {
                let random = (self.random)()?;
                let mut salt = [0; SALT_BYTES];
                for (to, from) in salt.iter_mut().zip(random) {
                    *to = from;
                }
                hash(clear, salt).map_err(|reason| refused(name, reason))
            }
        }
    }
}
