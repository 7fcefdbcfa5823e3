//! `vatra lab`: a whole federation on one machine, or on a few addresses.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use vatra_model::MemberCode;

use super::exit::Exit;
use super::input;
use super::print::{self, Printer};
use crate::federation::{LabPlan, Topology};

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Make members, a charter and nodes that know each other. Lab keys are for labs only.
    New(NewArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Member codes in the order of their nodes, as UA,LT,PL.
    #[arg(long, value_name = "CODE,..", value_delimiter = ',', required = true)]
    members: Vec<MemberCode>,
    /// Nodes of each member.
    #[arg(long, value_name = "K", default_value_t = 1)]
    nodes_per_site: usize,
    /// Directory to make; each node gets a directory in it, as DIR/ua-1.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Node i from 0 listens on UDP port N+2i for links and serves its API on TCP port N+2i+1.
    #[arg(long, value_name = "N", default_value_t = 4100)]
    base_port: u16,
    /// Address of each node; {} stands for its number from 1, as in 10.0.0.{}.
    #[arg(long, value_name = "TEMPLATE", default_value = "127.0.0.1")]
    host: String,
    /// Who dials whom.
    #[arg(long, value_enum, default_value_t)]
    topology: Topology,
}

/// Runs a lab command.
pub(crate) fn run(command: LabCommand, out: &mut Printer) -> anyhow::Result<Exit> {
    let LabCommand::New(args) = command;
    let plan = LabPlan {
        members: args.members,
        nodes_per_site: args.nodes_per_site,
        base_port: args.base_port,
        host: args.host,
        topology: args.topology,
    };
    let lab = plan.create(&args.dir, input::now())?;
    if out.is_json() {
        let nodes = lab.nodes.iter().map(|node| {
            json!({"node": node.name, "member": node.member, "dir": node.dir, "mesh": node.mesh, "api": node.api})
        });
        out.json(&json!({"nodes": nodes.collect::<Vec<_>>()}))?;
        return Ok(Exit::Done);
    }
    let rows = lab.nodes.iter().map(|node| {
        let api = format!("http://{}", node.api);
        vec![node.name.clone(), node.member.to_string(), node.mesh.to_string(), api, node.dir.display().to_string()]
    });
    out.table(&["node", "member", "mesh", "api", "directory"], rows.collect())?;
    print::warning("these are lab keys, made by one program on one machine; never use them in operations");
    Ok(Exit::Done)
}
