//! `skep doctor`: whether everything fits together.

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::show::{Column, Form, list, one, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, print};

#[derive(Args, Debug)]
pub struct Doctor {
    /// Mend what can be mended without a doubt
    #[arg(long)]
    fix: bool,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

const FINDINGS: &[Column] = &[
    ("CODE", |finding| text(finding, "code")),
    ("CELL", |finding| text(finding, "cell")),
    ("SUBJECT", |finding| text(finding, "subject")),
    ("FIXED", |finding| if finding["fixed"] == true { "yes" } else { "no" }.to_owned()),
    ("WHAT", |finding| text(finding, "what")),
    ("HOW TO FIX", |finding| {
        let safe = if finding["safe"] == true { " (or --fix)" } else { "" };
        text(finding, "fix") + safe
    }),
];

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Doctor {
    /// Runs the command: 0 nothing is wrong, or all of it was mended; 1 something is; 2 something could not be
    /// looked at.
    pub async fn run(self) -> Result<Code, Failure> {
        let look = async {
            match self.way.open().await? {
                Open::Api(http) => {
                    call(&http, Method::POST, "/admin/v1/doctor", Some(&json!({"fix": self.fix}))).await
                }
                Open::Direct(direct) => value(None, direct.0.doctor(&direct.1, self.fix).await),
            }
        };
        // Without the API database nothing could be looked at.
        let found = look.await.map_err(|failure| Failure { code: Code::Usage, ..failure })?;
        let findings = array(&found, "findings");
        print(&match self.output {
            Form::Json | Form::Yaml => one(self.output, &found),
            _ if findings.is_empty() => "nothing is wrong\n".to_owned(),
            form => list(form, findings, FINDINGS, &[]),
        })?;
        Ok(match (found["partial"] == true, findings.iter().all(|finding| finding["fixed"] == true)) {
            (true, _) => Code::Usage,
            (false, true) => Code::Done,
            (false, false) => Code::Failed,
        })
    }
}
