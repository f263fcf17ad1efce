//! Two keys for tests of this crate.

use super::PrivateKey;

/// Made with `openssl genpkey -algorithm ed25519`.
const KEYS: [&str; 2] = [
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
    "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
];

fn read(text: &str) -> PrivateKey {
    let text = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    PrivateKey::from_pem("test", text.as_bytes(), None).unwrap()
}

/// The key that tests trust.
pub(crate) fn key() -> PrivateKey {
    read(KEYS[0])
}

/// Another one.
pub(crate) fn other_key() -> PrivateKey {
    read(KEYS[1])
}
