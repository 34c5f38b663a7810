//! Asking several cells at once.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sql::Error;

use crate::handle::CellHandle;

/// What one cell answered.
#[derive(Debug)]
pub struct Answer<T> {
    /// The cell.
    pub cell: Arc<CellHandle>,
    /// Its answer, or why there is none.
    pub result: Result<T, Error>,
}

/// Asks `cells` at the same time, each within its own deadline, and gathers what they answer, by name.
pub async fn scatter<T, F, Fut>(cells: Vec<Arc<CellHandle>>, ask: F) -> Vec<Answer<T>>
where
    F: Fn(Arc<CellHandle>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let mut asked: FuturesUnordered<_> = cells
        .into_iter()
        .map(|cell| {
            let answer = ask(cell.clone());
            async move { Answer { cell, result: answer.await } }
        })
        .collect();
    let mut answers = Vec::new();
    while let Some(answer) = asked.next().await {
        answers.push(answer);
    }
    answers.sort_by(|a, b| a.cell.cell.name.cmp(&b.cell.cell.name));
    answers
}
