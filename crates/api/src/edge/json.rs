//! JSON objects written straight into bytes: no tree in between.

use std::fmt;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use serde::{Serialize, Serializer};

/// Writes one JSON object. Names are literals of ours that need no escaping; values are escaped.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Appends an object to `out`, with the members that `fill` puts.
    pub fn write(out: &'a mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        let mut object = Object { out, first: true };
        fill(&mut object);
        object.out.push(b'}');
    }

    /// A member with any value.
    pub fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.name(name);
        write_value(self.out, value);
    }

    /// A member that is a formatted string.
    pub fn text(&mut self, name: &'static str, text: fmt::Arguments<'_>) {
        self.put(name, &Text(text));
    }

    /// A member that is an object.
    pub fn object(&mut self, name: &'static str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        Object::write(self.out, fill);
    }

    /// A member that is an array of objects.
    pub fn array<I: IntoIterator>(
        &mut self,
        name: &'static str,
        items: I,
        mut fill: impl FnMut(&mut Object<'_>, I::Item),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            Object::write(self.out, |object| fill(object, item));
        }
        self.out.push(b']');
    }

    fn name(&mut self, name: &'static str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// A formatted string as a JSON value, without a string in between.
pub struct Text<'a>(pub fmt::Arguments<'a>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn write_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        // Only a map whose keys are no strings could get here.
        tracing::error!(%error, "a value has no JSON form");
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// An answer whose body is one JSON object.
pub fn answer(status: StatusCode, fill: impl FnOnce(&mut Object<'_>)) -> Response {
    let mut out = Vec::with_capacity(2048);
    Object::write(&mut out, fill);
    let mut response = Response::new(Body::from(out));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer whose body is any value: for objects whose names are not ours.
pub fn value<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    let mut out = Vec::new();
    write_value(&mut out, value);
    let mut response = Response::new(Body::from(out));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_serde_reads() {
        let mut out = Vec::new();
        Object::write(&mut out, |object| {
            object.put("a", "quote \" and \n line");
            object.text("b", format_args!("{}\"{}", 1, 2));
            object.object("c", |inner| inner.put("d", &[1, 2]));
            object.array("e", [1, 2], |item, number| item.put("n", &number));
            object.array("f", [(); 0], |_, ()| {});
            object.object("g", |_| {});
        });
        let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        let wanted = serde_json::json!({
            "a": "quote \" and \n line", "b": "1\"2", "c": {"d": [1, 2]},
            "e": [{"n": 1}, {"n": 2}], "f": [], "g": {},
        });
        assert_eq!(read, wanted);
    }
}
