//! Routes of drills: cutting links on purpose, and healing them.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use vatra_model::MemberCode;

use crate::alerts::{check_reason, read_small};
use crate::api::{Call, to_json_response};
use crate::limits::{CUT_MEMBERS_MAX, CUT_SECONDS_MAX};
use crate::problem::Problem;
use crate::service::{CutOrder, CutTarget, Service};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CutBody {
    members: Value,
    seconds: Value,
    reason: String,
}

pub(crate) async fn cut<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    call.no_parameters()?;
    let order = read_order(&call.json_body().await?)?;
    tracing::info!(caller = call.caller.name(), ?order, "links are cut for a drill");
    let answer = match &order.target {
        CutTarget::All => json!({"members": "all", "seconds": order.seconds, "reason": order.reason}),
        CutTarget::Members(members) => json!({"members": members, "seconds": order.seconds, "reason": order.reason}),
    };
    call.service().cut_links(&call.caller, order).await?;
    Ok(to_json_response(StatusCode::OK, &answer))
}

pub(crate) async fn heal<S: Service>(mut call: Call<S>) -> Result<Response, Problem> {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct HealBody {}

    call.no_parameters()?;
    let body = call.optional_json_body().await?;
    if !body.is_empty() {
        let HealBody {} = read_small(&body)?;
    }
    let healed = call.service().heal_links(&call.caller).await?;
    tracing::info!(caller = call.caller.name(), healed, "cuts of drills are healed");
    Ok(to_json_response(StatusCode::OK, &json!({"healed": healed})))
}

fn read_order(body: &[u8]) -> Result<CutOrder, Problem> {
    let CutBody { members, seconds, reason } = read_small(body)?;
    let seconds = seconds.as_u64().filter(|seconds| (1..=CUT_SECONDS_MAX).contains(seconds)).ok_or_else(|| {
        let detail = format!("seconds is a whole number from 1 to {CUT_SECONDS_MAX}");
        Problem::field("seconds", detail).with_limit(CUT_SECONDS_MAX)
    })?;
    check_reason(&reason)?;
    Ok(CutOrder { target: read_target(members)?, seconds, reason })
}

fn read_target(members: Value) -> Result<CutTarget, Problem> {
    let wrong = |detail: String| Problem::field("members", detail);
    match members {
        Value::String(all) if all == "all" => Ok(CutTarget::All),
        Value::Array(items) if (1..=CUT_MEMBERS_MAX).contains(&items.len()) => {
            let codes = items.iter().map(|item| {
                let code = item.as_str().ok_or_else(|| wrong("members are codes".to_owned()))?;
                code.parse::<MemberCode>().map_err(|error| wrong(format!("members: {error}")))
            });
            Ok(CutTarget::Members(codes.collect::<Result<_, _>>()?))
        }
        _ => Err(wrong(format!("members is \"all\" or a list of 1 to {CUT_MEMBERS_MAX} member codes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_strictly() {
        let order = read_order(br#"{"members":["LT","PL"],"seconds":30,"reason":"drill"}"#).unwrap();
        let members = ["LT", "PL"].map(|code| code.parse().unwrap()).to_vec();
        assert_eq!(order, CutOrder { target: CutTarget::Members(members), seconds: 30, reason: "drill".into() });
        let all = read_order(br#"{"members":"all","seconds":1,"reason":"x"}"#).unwrap();
        assert_eq!(all.target, CutTarget::All);
        for (bad, field) in [
            (r#"{"members":[],"seconds":1,"reason":"x"}"#, "members"),
            (r#"{"members":["lt"],"seconds":1,"reason":"x"}"#, "members"),
            (r#"{"members":[5],"seconds":1,"reason":"x"}"#, "members"),
            (r#"{"members":"some","seconds":1,"reason":"x"}"#, "members"),
            (r#"{"members":"all","seconds":0,"reason":"x"}"#, "seconds"),
            (r#"{"members":"all","seconds":-1,"reason":"x"}"#, "seconds"),
            (r#"{"members":"all","seconds":1.5,"reason":"x"}"#, "seconds"),
            (r#"{"members":"all","seconds":86401,"reason":"x"}"#, "seconds"),
            (r#"{"members":"all","seconds":1,"reason":" "}"#, "reason"),
            (r#"{"members":"all","seconds":1,"reason":"a\nb"}"#, "reason"),
            (r#"{"members":"all","seconds":1}"#, "reason"),
            (r#"{"members":"all","seconds":1,"reason":"x","colour":"red"}"#, "colour"),
        ] {
            let problem = read_order(bad.as_bytes()).unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.field_name()), (422, Some(field)), "{bad}");
        }
        assert_eq!(read_order(b"{").unwrap_err().status().as_u16(), 400);
    }
}
