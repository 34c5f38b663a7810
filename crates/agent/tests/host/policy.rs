//! The user's restart policy, carried out without any cell.

use std::time::Duration;

use agent::engine::Name;
use agent::engine::scripted::Script;
use model::sync::Outcome;
use model::{Intent, Power};

use crate::{Desk, command, eventually, next};

#[tokio::test]
async fn what_ends_and_stays_ended_is_told() {
    let desk = Desk::new().await;
    let wish = command(&["sleep"], "no");
    desk.carry_out(&wish).await;
    assert!(desk.engine.exit(Name::new(wish.instance, wish.at), 3));
    let seen = desk.observed(wish.instance, "its end is told", |o| o.power == Power::Stopped).await;
    assert_eq!((seen.outcome, seen.observed.exit_code), (Outcome::Changed, Some(3)));
    // It may be started again by its user.
    assert_eq!(desk.carry_out(&next(&wish, Intent::Run)).await.power, Power::Running);
}

#[tokio::test]
async fn a_short_run_is_done_and_ended() {
    let desk = Desk::new().await;
    let wish = command(&["exit", "0"], "no");
    let seen = desk.carry_out(&wish).await;
    assert_eq!((seen.power, seen.observed.exit_code), (Power::Stopped, Some(0)));
}

#[tokio::test]
async fn on_failure_is_bounded_and_content_with_zero() {
    let desk = Desk::new().await;
    let failing = command(&["exit", "7"], "on-failure:2");
    desk.want(&failing);
    let seen = desk
        .observed(failing.instance, "it is given up", |o| {
            o.power == Power::Stopped && o.observed.restarts == 2
        })
        .await;
    assert_eq!(seen.observed.exit_code, Some(7));
    let fine = command(&["exit", "0"], "on-failure:2");
    let seen = desk.carry_out(&fine).await;
    assert_eq!((seen.power, seen.observed.restarts), (Power::Stopped, 0));
}

#[tokio::test]
async fn restarts_need_no_cell() {
    let desk = Desk::new().await;
    let wish = command(&["sleep"], "always");
    desk.carry_out(&wish).await;
    desk.cell.dark(true);
    let name = Name::new(wish.instance, wish.at);
    for _ in 0..2 {
        assert!(desk.engine.exit(name, 1));
        assert_eq!(desk.power(&wish), Some(Power::Stopped));
        let running = || desk.power(&wish) == Some(Power::Running);
        eventually("it runs again", running, String::new).await;
    }
    desk.cell.dark(false);
    let seen = desk.observed(wish.instance, "it is told", |o| o.observed.restarts == 2).await;
    assert_eq!((seen.outcome, seen.power), (Outcome::Changed, Power::Running));
}

#[tokio::test]
async fn pauses_grow() {
    let desk = Desk::new().await;
    let wish = command(&["exit", "1"], "always");
    let begun = desk.env.monotonic();
    desk.want(&wish);
    desk.observed(wish.instance, "it restarts", |o| o.observed.restarts >= 4).await;
    let took = desk.env.monotonic() - begun;
    // 100 + 200 + 400 + 800 ms.
    assert!(took >= Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn a_user_who_stops_it_is_obeyed() {
    let desk = Desk::new().await;
    let wish = command(&["sleep"], "always");
    desk.carry_out(&wish).await;
    let stop = next(&wish, Intent::Stop);
    assert_eq!(desk.carry_out(&stop).await.power, Power::Stopped);
    desk.cell.rows().history.clear();
    // Longer than the pause before a restart.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(desk.power(&stop), Some(Power::Stopped));
}

#[tokio::test]
async fn exits_from_a_seed_are_all_found() {
    let script =
        Script { seed: 5, exiting_ppm: 500_000, lifetime: Duration::from_millis(300), ..Script::default() };
    let desk = Desk::scripted(script).await;
    let wishes: Vec<_> = (0..40).map(|_| command(&["sleep"], "no")).collect();
    for wish in &wishes {
        desk.want(wish);
    }
    for wish in &wishes {
        desk.settled(wish).await;
    }
    let told = || {
        let stopped = |w: &&model::sync::Wanted| {
            desk.cell.observed(w.instance).is_some_and(|o| o.power == Power::Stopped)
        };
        wishes.iter().filter(stopped).count()
    };
    let ended = || desk.engine.containers().iter().filter(|c| c.power == Power::Stopped).count();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sure = ended();
    assert!(sure > 5 && sure < 35, "{sure}");
    eventually("all ends are told", || told() == sure, || format!("{} of {sure}", told())).await;
}
