//! Panics of simulated roles: a runtime keeps them to itself, but they are violations.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

static LISTENS: Once = Once::new();

/// Hears the panics of this thread from now on, and forgets those before.
pub fn listen() {
    LISTENS.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            HEARD.with_borrow_mut(|heard| heard.push(format!("panic: {panic}")));
            before(panic);
        }));
    });
    HEARD.take();
}

/// The panics since then.
pub fn heard() -> Vec<String> {
    HEARD.take()
}
