//! What every transport must do: one suite, run in process and on RabbitMQ.
//!
//! RabbitMQ is found through `SKEP_TEST_AMQP` (`amqp://guest:guest@127.0.0.1:5672/%2f`); its vhost is used
//! by one test at a time. Without it those tests say that they are skipped, or fail where
//! `SKEP_TEST_REQUIRE=1`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what was skipped and what was measured is told")]

mod bells;
mod calls;
mod drills;
mod lost;
mod misdeeds;
mod proxy;
mod queues;
mod routes;
mod speed;
mod world;

macro_rules! contract {
    ($($file:ident: $($name:ident),+;)+) => {
        mod local {$($(
            #[tokio::test]
            async fn $name() {
                crate::world::bounded(crate::$file::$name(&crate::world::World::local())).await;
            }
        )+)+}
        mod amqp {$($(
            #[tokio::test]
            async fn $name() {
                if let Some(world) = crate::world::World::amqp().await {
                    crate::world::bounded(crate::$file::$name(&world)).await;
                }
            }
        )+)+}
    };
}

contract! {
    calls: call_and_reply, fault_passes, unroutable_is_refused_at_once, deadline_holds, context_travels,
        panic_is_internal, handlers_run_side_by_side, concurrency_is_bounded, many_calls_in_flight,
        two_servers_share, closed_bus_refuses;
    bells: rings_coalesce, listeners_compete, up_fans_out, host_bells_are_apart, ringing_is_cancel_safe;
    queues: dead_servers_calls_go_to_another, stop_drains, stop_is_bounded, poison_is_survived,
        deliveries_are_limited, purged_calls_are_lost, expired_calls_are_not_run, full_inbox_refuses;
    drills: refusal_is_immediate, hang_lasts_until_the_deadline, drilled_consumers_hear_nothing;
    speed: calls_are_fast;
}
