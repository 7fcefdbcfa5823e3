//! Bytes on the wire: as the links count them themselves, and as the interface saw them.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Client, Lab};

/// Bytes that a node's links have sent since it started, as the node counts them itself: frames as they
/// enter QUIC.
pub fn own_bytes(client: &Client) -> anyhow::Result<u64> {
    let status = client.status()?;
    let links = status["links"].as_array().context("the status has no links")?;
    let bytes = links.iter().map(|link| link["bytes_out"].as_u64());
    bytes.sum::<Option<u64>>().with_context(|| format!("a link without bytes_out: {links:?}"))
}

/// The same for a whole lab.
pub fn own_bytes_of_all(lab: &Lab) -> anyhow::Result<u64> {
    lab.nodes().iter().map(|node| own_bytes(node.client())).sum()
}

/// The sum of a metric over its labels; none when it is not there.
pub fn metric_sum(text: &str, name: &str) -> Option<u64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = if rest.starts_with('{') { rest.rsplit_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        value.split(' ').next()?.parse::<f64>().ok()
    });
    // Counters are whole numbers far below 2^53.
    samples.reduce(|sum, value| sum + value).map(|sum| sum as u64)
}

/// Counts the packets that a lab's nodes send on the loopback interface, in an nftables table of its
/// own that goes with this value.
pub struct InterfaceCounter {
    table: String,
}

impl InterfaceCounter {
    /// Sets the counter up; the error says why this machine cannot.
    pub fn install(lab: &Lab) -> anyhow::Result<InterfaceCounter> {
        ensure!(rustix::process::geteuid().is_root(), "not root");
        let ports: Vec<String> = lab.nodes().iter().map(|node| node.mesh().port().to_string()).collect();
        let table = format!("vatra_lab_{}_{}", std::process::id(), ports[0]);
        let script = format!(
            "table inet {table} {{\n chain sent {{\n  type filter hook output priority 0; policy accept;\n  \
             oifname \"lo\" udp sport {{ {} }} counter\n }}\n}}\n",
            ports.join(", ")
        );
        nft(&["-f", "-"], &script)?;
        Ok(InterfaceCounter { table })
    }

    /// Bytes of IP packets that the nodes have sent since the counter was set up.
    pub fn bytes(&self) -> anyhow::Result<u64> {
        let text = nft(&["-j", "list", "table", "inet", &self.table], "")?;
        let listing: Value = serde_json::from_str(&text).context("nft lists JSON")?;
        counter_bytes(&listing).with_context(|| format!("no counter in {text}"))
    }
}

impl Drop for InterfaceCounter {
    fn drop(&mut self) {
        if let Err(error) = nft(&["delete", "table", "inet", &self.table], "") {
            eprintln!("nftables table {} is left behind: {error:#}", self.table);
        }
    }
}

fn counter_bytes(listing: &Value) -> Option<u64> {
    let items = listing["nftables"].as_array()?;
    let rules = items.iter().filter_map(|item| item["rule"]["expr"].as_array());
    rules.flatten().find_map(|expression| expression["counter"]["bytes"].as_u64())
}

fn nft(arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("nft cannot be run (Debian package nftables)")?;
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a_total counter\na_total{lane=\"x y\"} 5\na_total{lane=\"z\"} 7\na_total_more 9\nb 3\n";
        assert_eq!(metric_sum(text, "a_total"), Some(12));
        assert_eq!(metric_sum(text, "b"), Some(3));
        assert_eq!(metric_sum(text, "c"), None);
    }

    #[test]
    fn the_counter_is_found_in_a_listing() {
        let listing = json!({"nftables": [
            {"metainfo": {}}, {"table": {}}, {"chain": {}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 1, "bytes": 128}}]}},
        ]});
        assert_eq!(counter_bytes(&listing), Some(128));
        assert_eq!(counter_bytes(&json!({"nftables": []})), None);
    }
}
