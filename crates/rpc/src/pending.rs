//! Calls that wait for their answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use model::Fault;
use tokio::sync::oneshot;
use uuid::Uuid;

/// A message's bytes, shared so that a copy costs nothing.
pub(crate) type Bytes = Arc<[u8]>;

/// The encoded reply, or why none will come.
pub(crate) type Answer = Result<Bytes, Fault>;

/// The calls of one bus that wait for their answer, by message id.
#[derive(Default)]
pub(crate) struct Pending(Mutex<BTreeMap<Uuid, oneshot::Sender<Answer>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to wait for the answer to message `id`.
    pub(crate) fn open(self: &Arc<Self>, id: Uuid) -> Waiting {
        let (sender, answer) = oneshot::channel();
        self.lock().insert(id, sender);
        Waiting { pending: self.clone(), id, answer }
    }

    /// Answers the call of message `id`; without effect if nobody waits for it (any more).
    pub(crate) fn settle(&self, id: Uuid, answer: Answer) {
        let sender = self.lock().remove(&id);
        if let Some(sender) = sender {
            let _ = sender.send(answer);
        }
    }

    /// Answers every waiting call with `fault`.
    pub(crate) fn fail_all(&self, fault: &Fault) {
        for (_, sender) in std::mem::take(&mut *self.lock()) {
            let _ = sender.send(Err(fault.clone()));
        }
    }
}

/// The wait for one answer; dropping it forgets the call.
pub(crate) struct Waiting {
    pending: Arc<Pending>,
    id: Uuid,
    answer: oneshot::Receiver<Answer>,
}

impl Future for Waiting {
    type Output = Answer;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.answer)
            .poll(cx)
            .map(|got| got.unwrap_or_else(|_| Err(Fault::internal("the wait for an answer was given up"))))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}
