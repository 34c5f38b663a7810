//! `skep image`: images on offer.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::http::Http;
use super::settings::Settings;
use super::{Output, table};
use crate::exit::{Code, Failure, print};

/// `skep image …`.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// List images
    List(List),
}

/// Options of `skep image list`.
#[derive(Args, Debug)]
pub struct List {
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

impl Image {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self::List(list) = self;
        let http = Http::new(&list.settings)?;
        let images = match http.get("/v2/images?limit=1000").await?["images"].take() {
            Value::Array(images) => images,
            _ => return Err(Failure::new("the API's answer is no list of images")),
        };
        print(&match list.output {
            Output::Json => format!("{:#}\n", Value::from(images)),
            Output::Table => {
                let row = |image: &Value| {
                    let text = |key: &str| table::clean(image[key].as_str().unwrap_or_default());
                    vec![text("id"), text("name"), text("status")]
                };
                table::render(&["ID", "NAME", "STATUS"], &images.iter().map(row).collect::<Vec<_>>())
            }
        })?;
        Ok(Code::Done)
    }
}
