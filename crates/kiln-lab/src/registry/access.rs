//! Who may do what: nothing asked, HTTP Basic, or tokens (distribution token specification).
//!
//! Tokens are counted and remembered, not signed: a test wants to see that the right one was used
//! and to take it back, and no client may look inside a token anyway.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::connection::{Head, Response, form_values};

/// What a client must show.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Nothing.
    #[default]
    Open,
    /// Name and password with each request.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token of this server's own `/token`.
    Token {
        /// Name and password that buy a token; without any, everybody gets one.
        user: Option<(String, String)>,
        /// A refresh token that buys one as well, by POST.
        refresh: Option<String>,
    },
}

/// Tokens given out, each with the repositories and actions that it opens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    granted: Mutex<BTreeMap<String, Vec<(String, String)>>>,
    count: Mutex<u64>,
}

/// The name of this service in challenges.
const SERVICE: &str = "kiln lab";

impl Tokens {
    fn granted(&self) -> MutexGuard<'_, BTreeMap<String, Vec<(String, String)>>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn revoke(&self) {
        self.granted().clear();
    }

    /// The answer to a request for a token.
    pub(super) fn token(&self, access: &Access, head: &Head, form: &str) -> Response {
        let Access::Token { user, refresh } = access else { return Response::status(404) };
        let (is_allowed, scopes) = if head.method == "POST" {
            let offered = form_values(form, "refresh_token");
            (refresh.is_some() && offered.first() == refresh.as_ref(), form_values(form, "scope"))
        } else {
            let offered = head.header("authorization");
            let is_known = user
                .as_ref()
                .is_none_or(|(user, password)| offered == Some(basic(user, password).as_str()));
            (is_known, head.query("scope"))
        };
        if !is_allowed {
            return Response::error(401, "UNAUTHORIZED", "the login is wrong");
        }
        let mut granted = Vec::new();
        for scope in scopes.iter().flat_map(|scope| scope.split(' ')) {
            let mut parts = scope.splitn(3, ':');
            if let (Some("repository"), Some(name), Some(actions)) =
                (parts.next(), parts.next(), parts.next())
            {
                let each = actions.split(',').map(|action| (name.to_owned(), action.to_owned()));
                granted.extend(each);
            }
        }
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        let token = format!("lab-{count}");
        self.granted().insert(token.clone(), granted);
        Response::json(&json!({ "token": token, "access_token": token, "expires_in": 300 }))
    }

    /// The refusal of a request, if it is to be refused; `wanted` is a repository and an action.
    pub(super) fn refusal(
        &self,
        access: &Access,
        head: &Head,
        scheme: &str,
        wanted: Option<(&str, &str)>,
    ) -> Option<Response> {
        let offered = head.header("authorization");
        let challenge = match access {
            Access::Open => return None,
            Access::Basic { user, password } => {
                if offered == Some(basic(user, password).as_str()) {
                    return None;
                }
                format!("Basic realm=\"{SERVICE}\"")
            }
            Access::Token { .. } => {
                let token = offered.and_then(|value| value.strip_prefix("Bearer "));
                let granted = self.granted();
                if let Some(granted) = token.and_then(|token| granted.get(token))
                    && wanted.is_none_or(|(repository, action)| {
                        granted.iter().any(|(name, may)| name == repository && may == action)
                    })
                {
                    return None;
                }
                // The way by which the client came is the one that it can go again.
                let host = head.header("host").unwrap_or_default();
                let scope = wanted.map(|(repository, action)| match action {
                    "push" => format!(",scope=\"repository:{repository}:pull,push\""),
                    action => format!(",scope=\"repository:{repository}:{action}\""),
                });
                format!(
                    "Bearer realm=\"{scheme}://{host}/token\",service=\"{SERVICE}\"{}",
                    scope.unwrap_or_default()
                )
            }
        };
        let refusal = Response::error(401, "UNAUTHORIZED", "authentication required");
        Some(refusal.header("WWW-Authenticate", challenge))
    }
}

/// The `Authorization` header of name and password (RFC 7617).
#[must_use]
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let value = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(value >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_as_in_its_standard() {
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(base64(b"abc"), "YWJj");
    }
}
