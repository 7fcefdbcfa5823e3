//! Which node a command talks to: its directory, or an address and a token.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::api::Api;
use super::exit::usage;
use crate::config::ConfigFile;

/// Options that name a node, and how to print what it answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Node and output")]
pub(crate) struct Target {
    /// Directory of the node: its node.toml gives the API address, its admin.token the token.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Address of the node's API, as http://127.0.0.1:4101; goes before --dir, which goes before
    /// VATRA_API in the environment.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// Token for the API; goes before --dir, which goes before VATRA_TOKEN in the environment. The
    /// environment keeps it out of process lists.
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Longest token that is read from a file.
const TOKEN_BYTES_MAX: u64 = 4096;

impl Target {
    /// The API of the node that the options name.
    pub(crate) fn connect(&self) -> anyhow::Result<Api> {
        let url = match (&self.api, &self.dir) {
            (Some(url), _) => url.clone(),
            (None, Some(dir)) => api_url_of(dir)?,
            (None, None) => {
                environment("VATRA_API")?.ok_or_else(|| usage("name a node: --dir DIR, or --api URL --token TOKEN"))?
            }
        };
        let token = match (&self.token, &self.dir) {
            (Some(token), _) => Some(token.trim().to_owned()),
            (None, Some(dir)) => Some(token_of(dir)?),
            (None, None) => environment("VATRA_TOKEN")?,
        };
        Api::new(&url, token.as_deref())
    }
}

/// A variable's text; an empty one counts as unset.
fn environment(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(usage(format!("{name} is not UTF-8"))),
    }
}

fn api_url_of(dir: &Path) -> anyhow::Result<String> {
    let listen = ConfigFile::read(dir)?.api_listen()?;
    Ok(format!("http://{}", reachable(listen)))
}

/// A node that listens on every address answers on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn token_of(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join(crate::config::ADMIN_TOKEN_FILE);
    let size = fs::metadata(&path).with_context(|| format!("token file {}", path.display()))?.len();
    anyhow::ensure!(size <= TOKEN_BYTES_MAX, "token file {}: {size} bytes, at most {TOKEN_BYTES_MAX}", path.display());
    let text = fs::read_to_string(&path).with_context(|| format!("token file {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn a_node_on_every_address_is_asked_on_loopback() {
        let cases =
            [("0.0.0.0:4101", "127.0.0.1:4101"), ("[::]:4101", "[::1]:4101"), ("10.0.0.1:4101", "10.0.0.1:4101")];
        for (listen, asked) in cases {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
