//! Bound values: one list that either engine takes.

use serde_json::Value;
use sqlx::Arguments;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::Error;

/// One bound value, of a column type that both engines know.
#[derive(Clone, Debug)]
pub enum Val {
    /// UUID, 16 bytes.
    Uuid(Option<Uuid>),
    /// BIGINT.
    I64(Option<i64>),
    /// TEXT.
    Text(Option<String>),
    /// BOOLEAN.
    Bool(Option<bool>),
    /// JSONB; an object or an array.
    Json(Option<Value>),
    /// BYTEA.
    Bytes(Option<Vec<u8>>),
}

macro_rules! from {
  ($($type:ty => $variant:ident($convert:expr);)*) => {$(
    impl From<$type> for Val {
      fn from(value: $type) -> Self { Self::$variant(Some($convert(value))) }
    }
    impl From<Option<$type>> for Val {
      fn from(value: Option<$type>) -> Self { Self::$variant(value.map($convert)) }
    }
  )*};
}

from! {
  Uuid => Uuid(|v| v);
  i64 => I64(|v| v);
  String => Text(|v| v);
  &str => Text(|v: &str| v.to_owned());
  bool => Bool(|v| v);
  Value => Json(|v| v);
  Vec<u8> => Bytes(|v| v);
  model::InstanceId => Uuid(model::InstanceId::uuid);
  model::CellId => Uuid(model::CellId::uuid);
  model::HostId => Uuid(model::HostId::uuid);
  model::TaskId => Uuid(model::TaskId::uuid);
  model::WorkerId => Uuid(model::WorkerId::uuid);
  model::Incarnation => Uuid(model::Incarnation::uuid);
  model::Timestamp => I64(|v: model::Timestamp| v.0);
}

impl From<model::listing::Value> for Val {
    fn from(value: model::listing::Value) -> Self {
        match value {
            model::listing::Value::Number(number) => number.into(),
            model::listing::Value::Text(text) => text.into(),
            model::listing::Value::Id(id) => id.into(),
        }
    }
}

/// A list of bound values.
pub type Args = Vec<Val>;

/// Builds [`Args`] from anything that is `Into<Val>`.
#[macro_export]
macro_rules! args {
  ($($value:expr),* $(,)?) => { vec![$($crate::Val::from($value)),*] };
}

macro_rules! bind {
    ($name:ident, $arguments:ty) => {
        pub(crate) fn $name(args: Args) -> Result<$arguments, Error> {
            let mut out = <$arguments>::default();
            for value in args {
                match value {
                    Val::Uuid(v) => out.add(v),
                    Val::I64(v) => out.add(v),
                    Val::Text(v) => out.add(v),
                    Val::Bool(v) => out.add(v),
                    Val::Json(v) => out.add(v.map(Json)),
                    Val::Bytes(v) => out.add(v),
                }
                .map_err(|error| Error::Statement(error.to_string()))?;
            }
            Ok(out)
        }
    };
}

bind!(lite, SqliteArguments);
bind!(pg, PgArguments);
