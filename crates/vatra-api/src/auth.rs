//! Who calls: bearer tokens of which only hashes are kept, with a role and a clearance.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use vatra_model::schema::words::Tlp;

use crate::problem::Problem;

/// Longest token.
const TOKEN_BYTES_MAX: usize = 512;

/// What a caller may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads and follows streams.
    Subscriber,
    /// Publishes and answers alerts, keeps contacts.
    Contributor,
    /// Cuts and heals links in drills.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Role; 4] = [Role::Subscriber, Role::Contributor, Role::Operator, Role::Admin];

    /// The role's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Subscriber => "subscriber",
            Role::Contributor => "contributor",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is subscriber, contributor, operator or admin")]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Role, ParseRoleError> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or(ParseRoleError)
    }
}

/// A caller as the configuration knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the caller, for logs.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    /// What the caller may do.
    pub role: Role,
    /// The strictest label that the caller may read.
    pub clearance: Tlp,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// An admitted caller.
#[derive(Clone, Debug)]
pub struct Caller {
    name: Arc<str>,
    role: Role,
    clearance: Tlp,
}

impl Caller {
    /// A caller that the API need not ask for a token, such as a test's.
    #[must_use]
    pub fn new(name: &str, role: Role, clearance: Tlp) -> Caller {
        Caller { name: name.into(), role, clearance }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may do.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The strictest label that it may read.
    #[must_use]
    pub fn clearance(&self) -> Tlp {
        self.clearance
    }
}

/// Requests per second that a caller may keep up, and the number it may make at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

/// The callers that are known.
#[derive(Debug)]
pub(crate) struct Doorman {
    guests: Vec<Guest>,
    rate: Rate,
}

#[derive(Debug)]
struct Guest {
    sha256: [u8; 32],
    caller: Caller,
    allowance: Mutex<Allowance>,
}

/// A token bucket.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Doorman {
    pub(crate) fn new(tokens: Vec<Token>, rate: Rate) -> Doorman {
        let guest = |token: Token| Guest {
            sha256: token.sha256,
            caller: Caller::new(&token.name, token.role, token.clearance),
            allowance: Mutex::new(Allowance { left: f64::from(rate.burst), at: Instant::now() }),
        };
        Doorman { guests: tokens.into_iter().map(guest).collect(), rate }
    }

    /// Admits a request to something that needs a role.
    pub(crate) fn admit(&self, headers: &HeaderMap, needed: Role) -> Result<Caller, Problem> {
        let guest = self.guest(bearer(headers)?).ok_or_else(|| Problem::unauthorized("the token is not known here"))?;
        if guest.caller.role < needed {
            let detail =
                format!("this needs the role {needed}, the token {:?} has {}", guest.caller.name, guest.caller.role);
            return Err(Problem::forbidden(detail));
        }
        guest.spend(self.rate)?;
        Ok(guest.caller.clone())
    }

    /// The guest with this token. Takes the same time whether and where it is found.
    fn guest(&self, token: &[u8]) -> Option<&Guest> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        let mut found = u32::MAX;
        for (index, guest) in (0_u32..).zip(&self.guests) {
            let is_it: Choice = guest.sha256.ct_eq(&presented);
            found.conditional_assign(&index, is_it);
        }
        self.guests.get(usize::try_from(found).ok()?)
    }
}

impl Guest {
    fn spend(&self, rate: Rate) -> Result<(), Problem> {
        let now = Instant::now();
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(allowance.at).as_secs_f64() * f64::from(rate.per_second);
        allowance.left = (allowance.left + earned).min(f64::from(rate.burst));
        allowance.at = now;
        if allowance.left < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - allowance.left) / f64::from(rate.per_second.max(1)));
            let detail = format!("the token {:?} may make {} requests per second", self.caller.name, rate.per_second);
            let status = axum::http::StatusCode::TOO_MANY_REQUESTS;
            return Err(Problem::new(status, "too-many-requests", "Too many requests", detail)
                .with_limit(u64::from(rate.per_second))
                .with_retry_after(wait.as_secs() + 1));
        }
        allowance.left -= 1.0;
        Ok(())
    }
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthorized("send one header Authorization: Bearer <token>"));
    };
    let value = value.as_bytes();
    let token = value
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token.trim_ascii());
    match token {
        Some(token) if !token.is_empty() && token.len() <= TOKEN_BYTES_MAX => Ok(token),
        _ => Err(Problem::unauthorized("send Authorization: Bearer <token>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, text: &str, role: Role) -> Token {
        Token { name: name.to_owned(), sha256: Sha256::digest(text).into(), role, clearance: Tlp::Green }
    }

    fn doorman(burst: u32) -> Doorman {
        let tokens = vec![token("reader", "r", Role::Subscriber), token("boss", "b", Role::Admin)];
        Doorman::new(tokens, Rate { per_second: 1, burst })
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_known_tokens_of_sufficient_role_are_admitted() {
        let doorman = doorman(100);
        let status = |value: &str, role| doorman.admit(&headers(value), role).map_err(|p| p.status().as_u16());
        assert_eq!(status("Bearer r", Role::Subscriber).unwrap().name(), "reader");
        assert_eq!(status("bearer b", Role::Admin).unwrap().name(), "boss");
        assert_eq!(status("Bearer r", Role::Contributor).unwrap_err(), 403);
        for bad in ["Bearer x", "Bearer ", "Bearer", "Basic r", "r", "Bearer r r"] {
            assert_eq!(status(bad, Role::Subscriber).unwrap_err(), 401, "{bad:?}");
        }
        assert_eq!(doorman.admit(&HeaderMap::new(), Role::Subscriber).unwrap_err().status().as_u16(), 401);
        let mut twice = headers("Bearer r");
        twice.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        assert_eq!(doorman.admit(&twice, Role::Subscriber).unwrap_err().status().as_u16(), 401);
    }

    #[test]
    fn a_token_that_is_used_up_hurts_no_other() {
        let doorman = doorman(2);
        let status = |value: &str| doorman.admit(&headers(value), Role::Subscriber).map_err(|p| p.status().as_u16());
        assert!(status("Bearer r").is_ok() && status("Bearer r").is_ok());
        assert_eq!(status("Bearer r").unwrap_err(), 429);
        assert!(status("Bearer b").is_ok());
    }

    #[test]
    fn nobody_is_known_without_tokens() {
        let doorman = Doorman::new(Vec::new(), Rate { per_second: 1, burst: 1 });
        assert_eq!(doorman.admit(&headers("Bearer r"), Role::Subscriber).unwrap_err().status().as_u16(), 401);
    }
}
