//! `vatra link`: drills that cut links on purpose, and heal them.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::http::Method;
use vatra_api::limits::CUT_SECONDS_MAX;
use vatra_model::MemberCode;

use super::exit::{Exit, usage};
use super::print::Printer;
use super::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Cut the links to some members, or to all, until the time is over or the links are healed.
    Cut(CutArgs),
    /// End every cut at once.
    Heal,
}

#[derive(Debug, Args)]
pub(crate) struct CutArgs {
    /// Member codes, separated by commas, or `all`.
    #[arg(value_name = "MEMBER[,MEMBER]|all")]
    members: String,
    /// How long, as 30s or 5m.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Why; everybody sees it in the node's status.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs a drill command.
pub(crate) fn run(command: LinkCommand, target: &Target, out: &mut Printer) -> anyhow::Result<Exit> {
    let (path, body, done) = match &command {
        LinkCommand::Cut(args) => {
            let done = format!("cut {} for {}", args.members, humantime::format_duration(args.duration));
            ("/api/v1/links/cut", Some(cut_body(args)?), done)
        }
        LinkCommand::Heal => ("/api/v1/links/heal", None, "healed".to_owned()),
    };
    let answer = target.connect()?.send(Method::POST, path, body.as_ref(), &[])?;
    if out.is_json() {
        out.json(&answer.body)?;
    } else {
        out.line(&done)?;
    }
    Ok(Exit::Done)
}

fn cut_body(args: &CutArgs) -> anyhow::Result<Value> {
    let members = if args.members == "all" {
        json!("all")
    } else {
        let codes: Result<Vec<MemberCode>, _> = args.members.split(',').map(|code| code.trim().parse()).collect();
        json!(codes.map_err(|error| usage(error.to_string()))?)
    };
    let seconds = args.duration.as_secs();
    if !(1..=CUT_SECONDS_MAX).contains(&seconds) {
        let longest = humantime::format_duration(Duration::from_secs(CUT_SECONDS_MAX));
        return Err(usage(format!("--for {seconds}s: a drill takes from 1s to {longest}")));
    }
    Ok(json!({"members": members, "seconds": seconds, "reason": args.reason}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(members: &str, seconds: u64) -> anyhow::Result<Value> {
        let duration = Duration::from_secs(seconds);
        cut_body(&CutArgs { members: members.into(), duration, reason: "drill".into() })
    }

    #[test]
    fn a_cut_names_members_or_all() {
        assert_eq!(body("all", 30).unwrap(), json!({"members": "all", "seconds": 30, "reason": "drill"}));
        assert_eq!(body("LT,PL", 5).unwrap()["members"], json!(["LT", "PL"]));
        assert!(body("lt", 5).is_err());
        assert!(body("LT,", 5).is_err());
        assert!(body("LT", 0).is_err() && body("LT", 86_400).is_ok());
        let error = body("LT", 86_401).unwrap_err().to_string();
        assert_eq!(error, "--for 86401s: a drill takes from 1s to 1day");
    }
}
