//! Running the checker: what holds, what is caught, and how much was looked at.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::mutant::Mutant;

pub const ONE_COPY: &str = "at most one copy runs";
pub const GONE_IS_GONE: &str = "what was deleted for good does not run";
pub const SOUND: &str = "allocations are placed rows";
pub const NO_LIMBO: &str = "nothing is stuck at rest";
pub const ONE_HOME: &str = "at rest there is one home and nothing is left elsewhere";

/// A model whose actions are either work, which goes on by itself, or faults and wishes of users.
pub trait Story: Model {
    /// Whether the action may never happen.
    fn is_fault(action: &Self::Action) -> bool;

    /// Whether any work changes anything: the state is not at rest.
    fn goes_on(&self, state: &Self::State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let mut work = actions.into_iter().filter(|action| !Self::is_fault(action));
        work.any(|action| self.next_state(state, action).is_some())
    }
}

fn run<M>(model: M, threads: usize, until: HasDiscoveries) -> (impl Checker<M>, f64)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let clock = model::Env::system();
    let begun = clock.monotonic();
    let checker = model.checker().threads(threads).finish_when(until).spawn_bfs().join();
    (checker, (clock.monotonic() - begun).as_secs_f64())
}

/// Looks at every state, finds no violation, and finds an example of everything that should be possible.
pub fn holds<M>(name: &str, model: M)
where
    M: Story + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let (checker, seconds) = run(model, 2, HasDiscoveries::AnyFailures);
    let states = checker.unique_state_count();
    eprintln!("{name}: {states} states, depth {}, {seconds:.1} s", checker.max_depth());
    let mut found = checker.discoveries();
    for property in checker.model().properties() {
        match (property.expectation, found.remove(property.name)) {
            (Expectation::Sometimes, None) => panic!("{name} never comes to this: {}", property.name),
            (Expectation::Sometimes, Some(_)) | (_, None) => {}
            (_, Some(path)) => panic!("{name} violates: {}\n{}", property.name, trace(&path.into_actions())),
        }
    }
    assert!(checker.is_done());
}

/// Finds that the model without a rule violates this property.
pub fn caught<M>(model: M, mutant: Mutant, property: &'static str)
where
    M: Story + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    // One thread finds a shortest trace.
    let (checker, seconds) = run(model, 1, HasDiscoveries::AnyOf([property].into()));
    let states = checker.unique_state_count();
    let Some(path) = checker.discoveries().remove(property) else {
        let others: Vec<_> = checker.discoveries().into_keys().collect();
        panic!("{mutant:?}: not violated in {states} states: {property}; found: {others:?}");
    };
    let actions = path.into_actions();
    eprintln!(
        "{mutant:?}: not so after {} actions: {property}; {states} states, {seconds:.1} s",
        actions.len()
    );
    if option_env!("SKEP_MODEL_TRACES").is_some() {
        eprintln!("{}", trace(&actions));
    }
}

fn trace<A: Debug>(actions: &[A]) -> String {
    let lines = actions.iter().enumerate().map(|(n, action)| format!("{:>3}. {action:?}", n + 1));
    lines.collect::<Vec<_>>().join("\n")
}
