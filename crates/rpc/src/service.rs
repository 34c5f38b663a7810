//! What a server answers: handlers by call.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Context, Fault, FaultKind};
use serde_json::value::RawValue;
use tracing::Instrument;

use crate::contract::Call;
use crate::signing::Signed;
use crate::wire::Request;

/// An encoded reply, or the fault that is the reply.
pub(crate) type Outcome = Result<Box<RawValue>, Fault>;

type Handler = Box<
    dyn Fn(Context, Option<Signed>, &RawValue) -> serde_json::Result<BoxFuture<'static, Outcome>>
        + Send
        + Sync,
>;

/// The handlers of a server, one for each call.
#[derive(Default)]
pub struct Service {
    handlers: HashMap<&'static str, Handler>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

impl Service {
    /// A service that answers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `C` with `f`. Delivery is at least once, so `f` must be idempotent; a panic in it is answered
    /// as `Internal`.
    ///
    /// # Panics
    /// If `C` has a handler already: that is a defect of the program, found when it starts.
    #[must_use]
    pub fn on<C, F, Fut>(self, f: F) -> Self
    where
        C: Call,
        F: Fn(Context, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Reply, Fault>> + Send + 'static,
    {
        self.on_signed(move |context, _, call| f(context, call))
    }

    /// [`Service::on`] for calls whose sender matters: `f` is given who says to have signed it, if anybody, and
    /// has to check that.
    ///
    /// # Panics
    /// As [`Service::on`].
    #[must_use]
    pub fn on_signed<C, F, Fut>(mut self, f: F) -> Self
    where
        C: Call,
        F: Fn(Context, Option<Signed>, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Reply, Fault>> + Send + 'static,
    {
        let f = Arc::new(f);
        let handler: Handler = Box::new(move |context, signed, body| {
            let call: C = serde_json::from_str(body.get())?;
            let f = f.clone();
            Ok(Box::pin(async move {
                let reply = f(context, signed, call).await?;
                serde_json::value::to_raw_value(&reply).map_err(|error| {
                    Fault::internal(format!("the answer to '{}' cannot be encoded: {error}", C::NAME))
                })
            }))
        });
        assert!(self.handlers.insert(C::NAME, handler).is_none(), "two handlers for call '{}'", C::NAME);
        self
    }

    /// Answers one encoded request; the error is of a request that cannot be read.
    pub(crate) async fn answer(&self, bytes: &[u8]) -> Result<Outcome, serde_json::Error> {
        let request: Request<'_> = serde_json::from_slice(bytes)?;
        let Some(handler) = self.handlers.get(request.call.as_ref()) else {
            let message =
                format!("call '{}' is not known here; check the versions of both sides", request.call);
            return Ok(Err(Fault::new(FaultKind::Unsupported, message)));
        };
        let call = request.call.clone().into_owned();
        let Context { request_id, trace_parent } = &request.context;
        let span = tracing::info_span!("call", name = call, request_id, trace_parent);
        let signed = request.signed.map(|signed| signed.with(&request.call, request.body.get()));
        let work = handler(request.context, signed, request.body)?.instrument(span.clone());
        Ok(AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(parent: &span, "a handler panicked");
            metrics::counter!("skep_rpc_handler_panics_total").increment(1);
            Err(Fault::internal(format!("the handler of '{call}' failed; its log tells why")))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{ConsoleTail, Tail};

    fn tail() -> Service {
        Service::new().on(|_, _: ConsoleTail| async { Ok(Tail { text: String::new() }) })
    }

    #[test]
    #[should_panic(expected = "two handlers for call 'console-tail'")]
    fn two_handlers_panic() {
        let _ = tail().on(|_, _: ConsoleTail| async { Ok(Tail { text: String::new() }) });
    }

    #[tokio::test]
    async fn unknown_calls_are_unsupported_and_rubbish_is_told_apart() {
        let unknown = tail().answer(br#"{"call":"later","body":{}}"#).await.unwrap();
        assert_eq!(unknown.unwrap_err().kind, FaultKind::Unsupported);
        for rubbish in ["", "{}", r#"{"call":"console-tail","body":{"instance":7}}"#] {
            assert!(tail().answer(rubbish.as_bytes()).await.is_err(), "{rubbish}");
        }
    }
}
