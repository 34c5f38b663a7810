//! `os-instance_usage_audit_log`: which hosts have audited what was used in a month. Hosts of Nova do it where an
//! operator switches it on; ours leave it to `os-simple-tenant-usage`, so that none ever has, and each is told so.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use model::Timestamp;

use crate::compute::hypervisors::hosts;
use crate::compute::moment;
use crate::compute::servers::count_dark;
use crate::edge::call::{Answered, Call};
use crate::edge::json::answer;
use crate::edge::refused::Refused;

/// `GET /os-instance_usage_audit_log`: of the last month that is over.
pub async fn index(call: Call) -> Answered {
    let now = call.shared.env.now();
    tell(&call, "instance_usage_audit_logs", now).await
}

/// `GET /os-instance_usage_audit_log/{before}`: of the last month that was over at a time.
pub async fn show(call: Call) -> Answered {
    let before = call.capture("before");
    // Nova's text (`nova/api/openstack/compute/instance_usage_audit_log.py`).
    let at =
        moment::parse(before).ok_or_else(|| Refused::bad(format!("Invalid timestamp for date {before}")))?;
    tell(&call, "instance_usage_audit_log", at).await
}

async fn tell(call: &Call, name: &'static str, at: Timestamp) -> Answered {
    let found = hosts(call).await?;
    let names: BTreeSet<&str> = found.hosts.iter().map(|row| row.name.as_str()).collect();
    let count = names.len();
    let status = match count {
        0 => "ALL hosts done. 0 errors.".to_owned(),
        _ => format!("0 of {count} hosts done. 0 errors."),
    };
    let (from, until) = month_before(at);
    let mut response = answer(StatusCode::OK, |body| {
        body.object(name, |log| {
            log.put("period_beginning", &from);
            log.put("period_ending", &until);
            log.put("num_hosts", &count);
            log.put("num_hosts_done", &0);
            log.put("num_hosts_running", &0);
            log.put("num_hosts_not_run", &count);
            log.put("hosts_not_run", &names);
            log.put("total_instances", &0);
            log.put("total_errors", &0);
            log.put("overall_status", &status);
            log.object("log", |_| {});
        });
    });
    count_dark(&mut response, found.dark_cells.len());
    Ok(response)
}

/// Where the last whole month before a time begins and ends (`nova/utils.py`, last_completed_audit_period).
fn month_before(at: Timestamp) -> (String, String) {
    let (year, month, ..) = at.civil();
    let first = |year: i64, month: u32| format!("{year:04}-{month:02}-01 00:00:00");
    let from = if month == 1 { first(year - 1, 12) } else { first(year, month - 1) };
    (from, first(year, month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_that_are_over() {
        let of = |text| month_before(Timestamp::parse(text).expect("a time"));
        let (begin, end) = ("2025-12-01 00:00:00".to_owned(), "2026-01-01 00:00:00".to_owned());
        assert_eq!(of("2026-01-01T00:00:00"), (begin, end));
        assert_eq!(of("2026-11-23T05:00:00").0, "2026-10-01 00:00:00");
    }
}
