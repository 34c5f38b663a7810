//! Spans to a collector, by OTLP over gRPC (opentelemetry.io/docs/specs/otlp).

use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::exit::Failure;

/// Longest that sending one batch may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// Whose spans are left out: sending a span makes some itself.
const CARRIERS: &[&str] = &["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry"];

/// Spans on their way.
#[derive(Clone)]
pub struct Traces(SdkTracerProvider);

/// Starts sending spans of `role` to `endpoint`. Whether a collector is there is found out later; the spans
/// of one that is not are dropped.
pub fn start<S>(endpoint: &str, role: &str) -> Result<(Traces, impl Layer<S> + use<S>), Failure>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(DEADLINE)
        .build()
        .map_err(|why| Failure::usage(format!("log.otlp_endpoint '{endpoint}': {why}")))?;
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(format!("skep-{role}")).build())
        .with_batch_exporter(exporter)
        .build();
    let ours = filter_fn(|about| {
        let of = about.target().split("::").next().unwrap_or_default();
        !CARRIERS.contains(&of)
    });
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("skep")).with_filter(ours);
    Ok((Traces(provider), layer))
}

impl Traces {
    /// Sends the rest.
    pub fn end(&self) {
        if let Err(why) = self.0.shutdown_with_timeout(DEADLINE) {
            tracing::warn!(%why, "not all spans were sent");
        }
    }
}

/// Makes `span` a child of the one that `traceparent` names (W3C Trace Context, section 3.2).
pub fn continues(span: &tracing::Span, traceparent: &str) {
    if let Some(parent) = parent(traceparent) {
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }
}

fn parent(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    let parent = SpanContext::new(trace, span, flags, true, TraceState::default());
    parent.is_valid().then_some(parent)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn spans_are_sent_as_part_of_the_callers_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let endpoint = format!("http://{}", listener.local_addr().expect("has an address"));
        // The name is sent as it is, the id as its bytes (opentelemetry/proto/trace/v1/trace.proto).
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128;
        let wanted = [b"skep-test".to_vec(), id.to_be_bytes().to_vec()];
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("is connected to");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("is set");
            let (mut all, mut some) = (Vec::new(), [0; 4096]);
            let has = |all: &[u8], piece: &[u8]| all.windows(piece.len()).any(|window| window == piece);
            while !wanted.iter().all(|piece| has(&all, piece)) {
                let count = stream.read(&mut some).expect("more comes in time");
                assert!(count > 0, "closed before all of it came");
                all.extend_from_slice(&some[..count]);
            }
        });
        let runtime = crate::role::runtime().expect("starts");
        let (traces, layer) = {
            let _inside = runtime.enter();
            start(&endpoint, "test").expect("starts")
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::error_span!("request");
            continues(&span, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        });
        // The collector hangs up without an answer, and this returns all the same.
        traces.end();
        collector.join().expect("all of it came");
    }

    #[test]
    fn trace_parents() {
        let good = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("legal");
        assert_eq!(good.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(good.is_sampled() && good.is_remote());
        for bad in ["", "00-0-0", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert!(parent(bad).is_none(), "{bad}");
        }
    }
}
